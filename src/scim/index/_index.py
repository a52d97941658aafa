"""The index as its users see it: queries, filters, growth, on top of any engine."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.checks import check_count
from scim._core.mmap import release_pages
from scim.index._answers import Neighbors, Within
from scim.index._check import check_allowed, check_distance, check_ids, check_known, check_matrix, check_wanted
from scim.index._files import save_index
from scim.index._find import Search, find, find_distinct
from scim.index._grow import appended, compacted, without
from scim.index._knobs import check_knobs
from scim.index._lookup import columns_in, frame_of, ids_of, vectors_of
from scim.index._table import columns_of
from scim.index._unit import unit_rows
from scim.index._within import within
from scim.index.filter import Where

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from scim.index._segment import Segment
    from scim.index._table import Table
    from scim.index.filter import United

_BATCH = 8192
"""Queries that are worked on together, so that memory does not grow with their number."""
_N_FILTERS = 16
"""Filters that are remembered."""


class Index:
    """Rows of unit length with an id each, that can be asked for the nearest of any vector.

    Made by :func:`scim.index.build` or :func:`scim.index.open`. It has one part that was built, and others: rows that
    were appended, which are searched in full, and folders that were opened beside the first. They are searched one
    after the other, until :meth:`compact` makes one part of all.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = list(segments)
        self._filters: OrderedDict[str | None, list[Any]] = OrderedDict()
        self._united: dict[str, United] = {}

    @property
    def kind(self) -> str:
        """Name of the kind, as :func:`scim.index.build` takes it."""
        return self._segments[0].engine.kind

    @property
    def n_rows(self) -> int:
        """Number of rows, without deleted ones."""
        return sum(segment.n_rows for segment in self._segments)

    @property
    def n_appended(self) -> int:
        """Number of rows that were appended, or opened from further folders; :meth:`compact` takes them in."""
        return sum(segment.n_rows for segment in self._segments[1:])

    @property
    def dim(self) -> int:
        """Number of columns of the rows."""
        return self._segments[0].engine.dim

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of all rows, ascending."""
        ids = ids_of(self._segments).view()
        ids.flags.writeable = False
        return ids

    @property
    def columns(self) -> list[str]:
        """Names of the columns of `obs` that `where` can speak of."""
        return columns_in(self._segments)

    @property
    def params(self) -> dict[str, Any]:
        """How the index was built and what it measured of itself, as JSON types."""
        return self._segments[0].engine.params

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes of what a search reads throughout, by name: what is best kept in memory.

        Not in it: what only candidates and hits are looked up in, as the low bytes of an `ivf` index, and the filters
        that were used, a byte a row each at most and sixteen of them.
        """
        total: dict[str, int] = {}
        for segment in self._segments:
            parts = dict(segment.engine.resident)
            parts["columns"] = sum(column.codes.nbytes for column in segment.columns.values())
            parts["ids"] = 0 if segment.own_ids is None else segment.own_ids.nbytes
            for name, size in parts.items():
                total[name] = total.get(name, 0) + size
        return total

    def __repr__(self) -> str:
        appended = f" ({self.n_appended:,} appended)" if self.n_appended else ""
        return f"<scim index: {self.kind}, {self.n_rows:,} rows{appended} x {self.dim}>"

    def query(
        self,
        X: ArrayLike,
        k: int,
        *,
        where: str | None = None,
        allowed: ArrayLike | None = None,
        distinct: bool = False,
        n_threads: int | None = None,
        **knobs: Any,
    ) -> Neighbors:
        """Return the `k` nearest rows of each query.

        The distance is 1 - dot of the rows scaled to unit length, at least 0 and at most 2.
        A row of zeros, as a query or in the base, has dot 0 with everything: its distances are all 1.
        Ties go by id, ascending. An answer does not depend on the number of threads, nor on the other queries.

        Parameters
        ----------
        X
            Queries (n, dim), float16, float32 or float64, of any length but finite;
            a single query of shape (dim,) is answered as (1, k).
        k
            Number of answers wanted, at least 1; may exceed the number of rows.
        where
            Only rows that pass are answered: a filter over :attr:`columns`, as
            `"tissue in ['lung', 'blood'] and not age < 30"`. It is compiled once, for all queries with it.
        allowed
            Ids that may be answered, in any order; ids that the index does not have are passed over.
            With any filter there are never fewer than min(k, number of passing rows) answers.
        distinct
            Whether rows equal to a nearer hit, or to an equally near one of lower id, are left out.
        n_threads
            Number of threads; default `scim.settings.n_threads`.
        knobs
            `recall` (an `ivf` index): share of the true neighbours to find, instead of the one it was built for;
            or `reach` and `depth`, how far to look and how many more than `k` to measure (a share of k).
            `effort` (a `graph`): rows kept in view.

        Returns
        -------
        `Neighbors` with `distances` (n, k), ascending, and `ids` (n, k); `inf` and -1 where there are no more answers.

        Raises
        ------
        FilterError
            `where` cannot be read, or names an unknown column or value.
        """
        check_count("k", k)
        if n_threads is not None:
            check_count("n_threads", n_threads)
        check_knobs(knobs, self.kind, self._segments[0].engine.knobs)
        queries = check_matrix(X, what="queries", dim=self.dim)
        passing = self._passing(where, None if allowed is None else check_allowed(allowed))
        search = Search(self._segments, passing, n_threads, knobs)
        n_wanted = min(k, sum(search.counts))
        parts = [] if len(queries) else [(np.empty((0, k), dtype=np.float32), np.empty((0, k), dtype=np.int64))]
        for start in range(0, len(queries), _BATCH):
            units = unit_rows(queries[start : start + _BATCH], what="queries", first=start)
            parts.append((find_distinct if distinct else find)(search, units, n_wanted))
        distances, ids = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        if distances.shape[1] < k:
            beyond = ((0, 0), (0, k - n_wanted))
            distances, ids = np.pad(distances, beyond, constant_values=np.inf), np.pad(ids, beyond, constant_values=-1)
        return Neighbors(distances, ids)

    def query_radius(
        self,
        X: ArrayLike,
        max_distance: float,
        *,
        limit: int | None = None,
        where: str | None = None,
        allowed: ArrayLike | None = None,
        n_threads: int | None = None,
        **knobs: Any,
    ) -> Within:
        """Return all rows within a distance of each query.

        Parameters
        ----------
        X
            Queries (n, dim), as for :meth:`query`.
        max_distance
            Largest cosine distance, 0 to 2.
        limit
            Number of answers a query at most, the nearest; default: all.
        where, allowed, n_threads, knobs
            As for :meth:`query`.

        Returns
        -------
        `Within` with `distances`, `ids` and `starts`. An index that is not exact finds as many of the rows as it finds
        of the nearest: those at the rim are missed most.
        """
        radius = check_distance(max_distance)
        if limit is not None:
            check_count("limit", limit)
        queries = check_matrix(X, what="queries", dim=self.dim)

        def ask(some: NDArray[Any], k: int) -> Neighbors:
            return self.query(some, k, where=where, allowed=allowed, n_threads=n_threads, **knobs)

        ask(queries[:0], 1)  # what cannot be answered is refused, whatever the number of rows and queries
        return within(ask, queries, radius, self.n_rows if limit is None else min(limit, self.n_rows))

    def select(self, where: str) -> NDArray[np.int64]:
        """Return the ids of the rows that pass a filter, ascending."""
        parsed = self._parse(where)
        ids = [segment.select(parsed) for segment in self._segments]
        if len(ids) == 1:
            return ids[0]
        spans = [segment.span for segment in self._segments]
        one_behind_the_other = all(before[1] < after[0] for before, after in itertools.pairwise(spans))
        return np.concatenate(ids) if one_behind_the_other else np.sort(np.concatenate(ids))

    def obs(self, ids: ArrayLike, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return columns of `obs` of rows, a frame indexed by id in the order of `ids`.

        Raises
        ------
        KeyError
            An id or a column does not exist.
        """
        names = self.columns if columns is None else check_known("columns", list(columns), self.columns)
        return frame_of(self._segments, check_wanted(ids), names, self._united)

    def vectors(self, ids: ArrayLike) -> NDArray[np.float32]:
        """Return the unit rows of ids as the index keeps them, (n, dim).

        Raises
        ------
        KeyError
            An id does not exist.
        """
        return vectors_of(self._segments, check_wanted(ids))

    def append(self, X: ArrayLike, ids: ArrayLike | None = None, *, obs: Table | None = None) -> None:
        """Add rows, which are searched at once.

        Appended rows are searched one and all, beside the index: 10,000 of 128 numbers add about 0.25 ms to a query.
        When they have become many, :meth:`compact`.

        Parameters
        ----------
        X
            Rows (n, dim), as for :func:`scim.index.build`.
        ids
            One integer a row, new to the index. Default: those after the largest.
        obs
            Columns of `obs`; they may be new to the index, or be left out: then their values are missing.

        Raises
        ------
        ValueError
            An id is there already; nothing is appended.
        """
        matrix = check_matrix(X, what="rows", dim=self.dim)
        first = int(self.ids[-1]) + 1 if ids is None and self.n_rows else 0
        own = check_ids(ids, len(matrix)) + first
        self._replace(appended(self._segments, matrix, own, columns_of(obs, len(matrix))))

    def delete(self, ids: ArrayLike) -> None:
        """Delete rows: they are answered no more. Their room is given back by :meth:`compact`.

        Raises
        ------
        KeyError
            An id is not in the index; nothing is deleted.
        """
        self._replace(without(self._segments, check_allowed(ids)))

    def compact(self, *, rng: int | np.random.Generator | None = None, n_threads: int | None = None) -> None:
        """Build the index anew from the rows it has, with the same kind and parameters: one part, no deleted rows.

        It pays once appended rows are some per cent of all, or many were deleted.

        Raises
        ------
        ValueError
            All rows were deleted.
        """
        self._replace(compacted(self._segments, rng, n_threads))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the index as a folder of `index.json` and npy files; :func:`scim.index.open` reads it.

        Raises
        ------
        FileExistsError
            `path` exists and `overwrite` is false.
        """
        save_index(path, self._segments, overwrite=overwrite)

    def release_pages(self) -> None:
        """Drop the pages of its files that were read; they count as memory of this process until somebody needs it."""
        for segment in self._segments:
            for array in segment.engine.arrays().values():
                release_pages(array, unwritten=True)  # nobody writes into what is open

    def _replace(self, segments: list[Segment]) -> None:
        self._segments = segments
        self._filters.clear()
        self._united.clear()

    def _parse(self, where: str) -> Where:
        parsed = Where(where)
        parsed.check(*(segment.columns for segment in self._segments))
        return parsed

    def _passing(self, where: str | None, allowed: NDArray[np.int64] | None) -> list[Any]:
        """Return what passes in each segment, as its engine wants it."""
        if allowed is not None:
            parsed = None if where is None else self._parse(where)
            return [segment.passing(parsed, allowed) for segment in self._segments]
        passing = self._filters.pop(where, None)
        if passing is None:
            parsed = None if where is None else self._parse(where)
            passing = [segment.passing(parsed, None) for segment in self._segments]
        self._filters[where] = passing  # the one used last is last
        while len(self._filters) > _N_FILTERS:
            self._filters.popitem(last=False)
        return passing
