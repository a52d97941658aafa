"""Rows that came in together: an engine that finds them, their ids, and their columns of `obs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim.index._threads import threads_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from scim.index._engine import Engine
    from scim.index.filter import Column, Where

_FEW = 1 / 16
"""Share of the rows up to which a set of them is worked on as places and not as a mask."""

_CODES = 8
"""Codes that are tested in the time of a multiplication, more or less: a million rows are not worth two threads."""


class Segment:
    """One engine and what is known of its rows.

    Parameters
    ----------
    engine
        Finds rows by rank.
    ids
        Ids by rank, ascending; `None` for 0 ... n - 1.
    columns
        Columns of `obs`, by place.
    gone
        Whether the row at each place was deleted; `None` if none was.
    """

    def __init__(
        self,
        engine: Engine,
        ids: NDArray[np.int64] | None,
        columns: Mapping[str, Column],
        gone: NDArray[np.bool_] | None = None,
    ) -> None:
        self.engine, self.columns, self.gone = engine, columns, gone
        self.own_ids = ids
        self.n_gone = 0 if gone is None else int(np.count_nonzero(gone))

    @property
    def n_rows(self) -> int:
        """Number of rows that were not deleted."""
        return self.engine.n_rows - self.n_gone

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of the rows that were not deleted, ascending."""
        if self.gone is None:
            return self.every_id
        return np.delete(self.every_id, self.engine.ranks_at(np.flatnonzero(self.gone)))

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last id, of deleted rows too."""
        return (0, self.engine.n_rows - 1) if self.own_ids is None else (int(self.own_ids[0]), int(self.own_ids[-1]))

    @property
    def every_id(self) -> NDArray[np.int64]:
        """Ids by rank, of deleted rows too."""
        return np.arange(self.engine.n_rows) if self.own_ids is None else self.own_ids

    def ids_of(self, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of ranks."""
        return ranks if self.own_ids is None else self.own_ids[ranks]

    def locate(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the ranks of ids, in their order, and which of them are here and not deleted."""
        first, last = self.span
        ranks, known = ids - first, (ids >= first) & (ids <= last)
        if self.own_ids is not None and last - first >= self.engine.n_rows:  # there are gaps
            near = np.flatnonzero(known)  # of many ids a small segment has few
            ranks[near] = np.searchsorted(self.own_ids, ids[near])
            known[near] = self.own_ids[ranks[near]] == ids[near]
        if self.gone is not None:
            known[known] = ~self.gone[self.engine.places_of(ranks[known])]
        return ranks, known

    def passing(self, where: Where | None, allowed: NDArray[np.int64] | None) -> Any:
        """Return the rows that pass, laid out for the engine; `None` if all do.

        `allowed` are ascending distinct ids.
        """
        if where is None and allowed is None and self.gone is None:
            return None
        mask = None if where is None and self.gone is None else self._mask(where)
        if allowed is None:
            assert mask is not None
            return self.engine.lay_out(mask)
        ranks, known = self.locate(allowed)
        places = np.sort(self.engine.places_of(ranks[known]))
        if mask is not None:
            places = places[mask[places]]
        return self.engine.lay_out(places if len(places) <= _FEW * self.engine.n_rows else self._mask_of(places))

    def select(self, where: Where) -> NDArray[np.int64]:
        """Return the ids of the rows that pass, ascending."""
        return self.ids_of(self.engine.ranks_in(self._mask(where)))

    def _mask(self, where: Where | None) -> NDArray[np.bool_]:
        """Return which places have a row that passes and was not deleted."""
        if where is None:
            return np.ones(self.engine.n_rows, dtype=np.bool_) if self.gone is None else ~self.gone
        with threads_for(self.engine.n_rows * len(where.columns) // _CODES, None):
            mask = where.mask(self.columns, self.engine.n_rows)
        return mask if self.gone is None else np.greater(mask, self.gone, out=mask)

    def _mask_of(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        mask = np.zeros(self.engine.n_rows, dtype=np.bool_)
        mask[places] = True
        return mask

    def without(self, ranks: NDArray[np.int64]) -> Segment:
        """Return the segment with further rows deleted."""
        gone = np.zeros(self.engine.n_rows, dtype=np.bool_) if self.gone is None else self.gone.copy()
        gone[self.engine.places_of(ranks)] = True
        return Segment(self.engine, self.own_ids, self.columns, gone)
