"""What is known of rows by their ids, whichever segment they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scim.index.filter import Rows, United

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.index._segment import Segment


class Located(NamedTuple):
    """Those of some ids that one segment has."""

    segment: Segment
    which: NDArray[np.int64]
    """Numbers of the ids among those asked for."""
    ranks: NDArray[np.int64]
    """Their ranks in the segment."""


def ids_of(segments: Sequence[Segment]) -> NDArray[np.int64]:
    """Return the ids of all rows that were not deleted, ascending."""
    parts = [segment.ids for segment in segments]
    return parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts), kind="stable")  # quick where runs ascend


def columns_in(segments: Sequence[Segment]) -> list[str]:
    """Return the names of all columns, those of the first segment first."""
    return list(dict.fromkeys(name for segment in segments for name in segment.columns))


def locate(segments: Sequence[Segment], ids: NDArray[np.int64]) -> list[Located]:
    """Return where ids are.

    Raises
    ------
    KeyError
        One does not exist.
    """
    found, missing = [], np.ones(len(ids), dtype=np.bool_)
    for segment in segments:
        ranks, known = segment.locate(ids)
        found.append(Located(segment, np.flatnonzero(known), ranks[known]))
        missing &= ~known
    if missing.any():
        msg = f"{missing.sum()} of {len(ids)} ids are not in the index, the first is {ids[np.argmax(missing)]}."
        raise KeyError(msg)
    return found


def vectors_of(segments: Sequence[Segment], ids: NDArray[np.int64], n: int | None = None) -> NDArray[np.float32]:
    """Return the rows of ids, (n_ids, dim), or the first `n` numbers of each."""
    found = locate(segments, ids)
    if len(found) == 1:  # all are there, in the order asked for
        return segments[0].engine.vectors(found[0].ranks, n)
    dim = segments[0].engine.dim
    out = np.empty((len(ids), dim if n is None else min(n, dim)), dtype=np.float32)
    for segment, which, ranks in found:
        out[which] = segment.engine.vectors(ranks, n)
    return out


def frame_of(
    segments: Sequence[Segment], ids: NDArray[np.int64], columns: Sequence[str], united: dict[str, United]
) -> pd.DataFrame:
    """Return columns of `obs` of ids, a frame indexed by id.

    What is made of a column of several segments is kept in `united` for the next time.
    """
    rows = [Rows(which, segment.engine.places_of(ranks)) for segment, which, ranks in locate(segments, ids)]
    frame = pd.DataFrame(index=pd.Index(ids, name="id"))
    for name in columns:
        if len(segments) == 1:
            frame[name] = segments[0].columns[name].decode(rows[0].places).array
            continue
        if name not in united:
            united[name] = United(name, [segment.columns.get(name) for segment in segments])
        frame[name] = united[name].take(rows, len(ids)).decode().array
    return frame
