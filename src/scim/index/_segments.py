"""Segments: rows that were written together, with an engine that searches them, their ids and columns of `obs`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core.numba import threads
from scim.index.filter import CombinedColumn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scim._core.types import Bools, Floats, Ints
    from scim.index._engine import Engine
    from scim.index.filter import Column, Filter

_FEW = 1 / 16  # share of the rows up to which a set of them is handled as offsets and not as a mask
_CODES = 8  # codes that are tested in the time of a multiplication: a million rows do not repay two threads


class Segment:
    """One engine, with the ids of its rows by rank, ascending (`None`: 0 ... n - 1), and their columns by offset.

    `deleted` are tombstones: whether the row at each offset was deleted; `None` if none was.
    """

    def __init__(
        self, engine: Engine, ids: Ints | None, columns: Mapping[str, Column], deleted: Bools | None = None
    ) -> None:
        self.engine, self.stored_ids, self.columns, self.deleted = engine, ids, columns, deleted
        self.n_deleted = 0 if deleted is None else int(np.count_nonzero(deleted))

    @property
    def n_rows(self) -> int:
        """Number of rows that were not deleted."""
        return self.engine.n_rows - self.n_deleted

    @property
    def ids(self) -> Ints:
        """Ids of the rows that were not deleted, ascending."""
        ids = np.arange(self.engine.n_rows) if self.stored_ids is None else self.stored_ids
        return ids if self.deleted is None else np.delete(ids, self.engine.ranks_at(np.flatnonzero(self.deleted)))

    @property
    def empty_ids(self) -> Ints:
        """Ids of the rows of zeros that were not deleted, ascending."""
        offsets = self.engine.empty
        kept = offsets if self.deleted is None else offsets[~self.deleted[offsets]]
        return np.sort(self.ids_of(self.engine.ranks_at(kept)))

    @functools.cached_property
    def hidden(self) -> Bools | None:
        """Which offsets have a row that no query finds, deleted or of zeros; `None` if all rows are found."""
        if not len(self.engine.empty):
            return self.deleted
        hidden = np.zeros(self.engine.n_rows, dtype=np.bool_) if self.deleted is None else self.deleted.copy()
        hidden[self.engine.empty] = True
        return hidden

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last id, of deleted rows too."""
        ids = self.stored_ids
        return (0, self.engine.n_rows - 1) if ids is None else (int(ids[0]), int(ids[-1]))

    def ids_of(self, ranks: Ints) -> Ints:
        """Return the ids of ranks."""
        return ranks if self.stored_ids is None else self.stored_ids[ranks]

    def locate(self, ids: Ints) -> tuple[Ints, Bools]:
        """Return the ranks of ids, in their order, and which of them this segment has, not deleted."""
        first, last = self.span
        ranks, present = ids - first, (ids >= first) & (ids <= last)
        if self.stored_ids is not None and last - first >= self.engine.n_rows:  # there are gaps
            near = np.flatnonzero(present)  # of many ids a small segment has few
            ranks[near] = np.searchsorted(self.stored_ids, ids[near])
            present[near] = self.stored_ids[ranks[near]] == ids[near]
        if self.deleted is not None:
            present[present] = ~self.deleted[self.engine.offsets_of(ranks[present])]
        return ranks, present

    def compile_filter(self, parsed: Filter | None, allowed: Ints | None) -> tuple[int, Any]:
        """Return the number of rows that can be found, and the filter compiled for the engine; `None` if all can.

        `allowed` are ascending distinct ids.
        """
        if parsed is None and allowed is None and self.hidden is None:
            return self.engine.n_rows, None
        mask = None if parsed is None and self.hidden is None else self._mask(parsed, self.hidden)
        if allowed is None:
            assert mask is not None
            return int(np.count_nonzero(mask)), self.engine.compile_filter(mask)
        ranks, present = self.locate(allowed)
        offsets = np.sort(self.engine.offsets_of(ranks[present]))
        if mask is not None:
            offsets = offsets[mask[offsets]]
        if len(offsets) <= _FEW * self.engine.n_rows:
            return len(offsets), self.engine.compile_filter(offsets)
        passing = np.zeros(self.engine.n_rows, dtype=np.bool_)
        passing[offsets] = True
        return len(offsets), self.engine.compile_filter(passing)

    def select(self, parsed: Filter) -> Ints:
        """Return the ids of the rows that pass, ascending."""
        return self.ids_of(self.engine.ranks_in(self._mask(parsed, self.deleted)))

    def _mask(self, parsed: Filter | None, left_out: Bools | None) -> Bools:
        """Return which offsets have a row that passes and is not left out."""
        if parsed is None:
            return np.ones(self.engine.n_rows, dtype=np.bool_) if left_out is None else ~left_out
        with threads(work=self.engine.n_rows * len(parsed.columns) // _CODES):
            mask = parsed.mask(self.columns, self.engine.n_rows)
        return mask if left_out is None else np.greater(mask, left_out, out=mask)

    def without(self, ranks: Ints) -> Segment:
        """Return the segment with further rows deleted."""
        deleted = np.zeros(self.engine.n_rows, dtype=np.bool_) if self.deleted is None else self.deleted.copy()
        deleted[self.engine.offsets_of(ranks)] = True
        return Segment(self.engine, self.stored_ids, self.columns, deleted)


def ids_of(segments: Sequence[Segment]) -> Ints:
    """Return the ids of all rows that were not deleted, ascending."""
    return merged([segment.ids for segment in segments])


def merged(parts: Sequence[Ints]) -> Ints:
    """Return all of several ascending lists, ascending."""
    return parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts), kind="stable")  # quick where runs ascend


def column_names(segments: Sequence[Segment]) -> list[str]:
    """Return the names of all columns, those of the first segment first."""
    return list(dict.fromkeys(name for segment in segments for name in segment.columns))


def locate(segments: Sequence[Segment], ids: Ints) -> list[tuple[Segment, Ints, Ints]]:
    """Return for each segment the positions of those ids that it has, and their ranks in it."""
    located, missing = [], np.ones(len(ids), dtype=np.bool_)
    for segment in segments:
        ranks, present = segment.locate(ids)
        located.append((segment, np.flatnonzero(present), ranks[present]))
        missing &= ~present
    if missing.any():
        msg = f"{missing.sum()} of {len(ids)} ids are not in the index, the first is {ids[np.argmax(missing)]}."
        raise KeyError(msg)
    return located


def vectors_of(segments: Sequence[Segment], ids: Ints, n: int | None = None) -> Floats:
    """Return the rows of ids, (n_ids, dim), or the first `n` numbers of each."""
    located = locate(segments, ids)
    if len(located) == 1:  # all ids, in their order
        return segments[0].engine.vectors(located[0][2], n)
    dim = segments[0].engine.dim
    out = np.empty((len(ids), dim if n is None else min(n, dim)), dtype=np.float32)
    for segment, which, ranks in located:
        out[which] = segment.engine.vectors(ranks, n)
    return out


def frame_of(
    segments: Sequence[Segment], ids: Ints, columns: Sequence[str], combined: dict[str, CombinedColumn]
) -> pd.DataFrame:
    """Return columns of `obs` of ids, a frame indexed by id; `combined` keeps combined columns for the next call."""
    rows = [(which, segment.engine.offsets_of(ranks)) for segment, which, ranks in locate(segments, ids)]
    frame = pd.DataFrame(index=pd.Index(ids, name="id"))
    for name in columns:
        if len(segments) == 1:
            frame[name] = segments[0].columns[name].decode(rows[0][1]).array
            continue
        if name not in combined:
            combined[name] = CombinedColumn(name, [segment.columns.get(name) for segment in segments])
        frame[name] = combined[name].take(rows, len(ids)).decode().array
    return frame
