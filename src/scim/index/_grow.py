"""Rows added, deleted and taken together: each makes new segments of those there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim.index._gather import gathered
from scim.index._lookup import columns_in, frame_of, ids_of, locate
from scim.index._make import ASKED, make_engine
from scim.index._segment import Segment
from scim.index._source import SegmentsSource
from scim.index._unit import unit_rows
from scim.index.exact._exact import ExactEngine
from scim.index.filter import Column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


def appended(
    segments: Sequence[Segment], matrix: NDArray[Any], ids: NDArray[np.int64], columns: Mapping[str, Column]
) -> list[Segment]:
    """Return segments with further rows, in a segment of their own or in one with those appended before.

    Raises
    ------
    ValueError
        An id is there already.
    TypeError
        A column is of another kind than in the rows appended before.
    """
    present = np.any([segment.locate(ids)[1] for segment in segments], axis=0)
    if present.any():
        first = ids[np.argmax(present)]
        msg = f"{present.sum()} of the `ids` are in the index already, the first is {first}; pass new ones."
        raise ValueError(msg)
    units = unit_rows(matrix, what="rows")
    if len(units) == 0:
        return list(segments)
    order = np.argsort(ids, kind="stable")
    taken = {name: column.take(order) for name, column in columns.items()}
    *others, last = gathered([*segments, Segment(ExactEngine(units[order]), ids[order], taken)])
    last.columns = dict(last.columns)  # made now: what does not fit is refused before anything is appended
    return [*others, last]


def without(segments: Sequence[Segment], ids: NDArray[np.int64]) -> list[Segment]:
    """Return segments with the rows of ids, which must exist, marked as deleted."""
    return [segment.without(ranks) if len(ranks) else segment for segment, _, ranks in locate(segments, ids)]


def compacted(
    segments: Sequence[Segment], rng: int | np.random.Generator | None, n_threads: int | None
) -> list[Segment]:
    """Return one segment of the kind and the parameters of the first, of all rows that were not deleted.

    Raises
    ------
    ValueError
        There is none.
    """
    ids = ids_of(segments)
    if len(ids) == 0:
        msg = "All rows were deleted; an index needs at least one."
        raise ValueError(msg)
    first = segments[0].engine
    asked = {name: value for name, value in first.params.items() if name in ASKED}
    engine = make_engine(first.kind, SegmentsSource(segments, ids), rng, n_threads, **asked)
    order = engine.ranks_at(np.arange(engine.n_rows))
    columns = {name: column.take(order) for name, column in columns_from(segments, ids).items()}
    return [Segment(engine, None if ids[0] == 0 and ids[-1] == len(ids) - 1 else ids, columns)]


def columns_from(segments: Sequence[Segment], ids: NDArray[np.int64]) -> dict[str, Column]:
    """Return the columns of the rows of ids, in their order."""
    frame = frame_of(segments, ids, columns_in(segments), {})
    return {str(name): Column.of(str(name), frame[name]) for name in frame}
