"""The public index: queries, filters and growth on top of any engine."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import check_count, check_flags, check_range, check_where, refuse_absent
from scim._core.cosine import unit_rows
from scim.index._check import check_allowed, check_ids, check_matrix, check_search_params, check_wanted
from scim.index._files import HEADER, write_segments
from scim.index._grow import append, compact, delete
from scim.index._search import Neighbors, RadiusNeighbors, Search, find_within, search_queries
from scim.index._segments import column_names, frame_of, ids_of, merged, vectors_of
from scim.index.filter import CombinedColumn, Filter, columns_of
from scim.io import MappedFiles, new_folder, release_pages

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from scim.index._segments import Segment
    from scim.index.filter._column import Table

_BATCH = 8192  # queries that are searched together, so that memory does not grow with their number
_MOST_PADDED = 1_000_000  # neighbours of a query that may be more than the rows; results are padded to k
_N_FILTERS = 16  # compiled filters that are cached


class Index:
    """Rows of unit length with an id each, and their nearest neighbours of any vector.

    Made by :func:`scim.index.build` or :func:`scim.index.open`. All segments are searched: the one that was built, rows
    that were appended, and folders that were opened beside the first. :meth:`compact` makes one of them.
    """

    def __init__(self, segments: Sequence[Segment], mapped: MappedFiles | None = None) -> None:
        self._segments, self._mapped = list(segments), MappedFiles() if mapped is None else mapped
        self._filters: OrderedDict[str | None, list[tuple[int, Any]]] = OrderedDict()
        self._combined: dict[str, CombinedColumn] = {}

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
        """Number of rows that were appended, or opened from further folders, since :meth:`compact`."""
        return sum(segment.n_rows for segment in self._segments[1:])

    @property
    def dim(self) -> int:
        """Number of columns of the rows."""
        return self._segments[0].engine.dim

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of all rows, ascending."""
        self._mapped.check()
        ids = ids_of(self._segments).view()
        ids.flags.writeable = False
        return ids

    @property
    def empty_ids(self) -> NDArray[np.int64]:
        """Ids of the rows of zeros, ascending: they are kept, and never found."""
        self._mapped.check()
        return merged([segment.empty_ids for segment in self._segments])

    @property
    def columns(self) -> list[str]:
        """Names of the columns of `obs` that a filter can name."""
        return column_names(self._segments)

    @property
    def params(self) -> dict[str, Any]:
        """Parameters the index was built with and what was measured of it, as JSON types."""
        return self._segments[0].engine.params

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes, by name, of what a search reads throughout, not for candidates only: what is best kept in memory.

        Up to sixteen cached filters of at most a byte a row are not included.
        """
        total = Counter[str]()
        for segment in self._segments:
            total.update(segment.engine.resident)
            total["columns"] += sum(column.codes.nbytes for column in segment.columns.values())
            total["ids"] += 0 if segment.stored_ids is None else segment.stored_ids.nbytes
        return dict(total)

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
        **search_params: Any,
    ) -> Neighbors:
        """Return the `k` nearest rows of each query.

        The distance, 0 to 2, is 1 - dot of the rows scaled to unit length, and 0 below 1e-6, so that rounding does not
        tell equal rows apart. A row of zeros, as of a cell without counts, has no direction: it finds nothing, and is
        never found. Ties go by id, ascending. A result does not depend on the number of threads, nor on the other
        queries.

        Parameters
        ----------
        X
            Queries (n, dim), or a single one (dim,), float16, float32 or float64, finite, of any length.
        k
            Number of neighbours, at least 1; may exceed the number of rows, up to a million.
        where
            Filter over :attr:`columns`, as `"tissue in ['lung', 'blood'] and not age < 30"`; only rows that pass are
            neighbours. It is compiled once, for all queries with it.
        allowed
            Ids of the rows that may be neighbours, in any order; ids that the index does not have are ignored.
            With any filter there are never fewer than min(k, number of passing rows that are not zero) neighbours.
        distinct
            Whether rows equal to a nearer hit, or to an equally near one of lower id, are left out.
        n_threads
            Number of threads; default `scim.settings.n_threads`.
        search_params
            Of an `ivf` index `recall`, the share of the true neighbours to find; or `probe_factor`, how far beyond the
            candidates to probe lists (as a share of their distance), and `rerank_factor`, how many candidates more than
            `k` to re-rank (as a share of k). Of a `graph` `recall`, or `ef_search`, the candidates that a walk holds.

        Returns
        -------
        `Neighbors` with `distances` (n, k), ascending, and `ids` (n, k); `inf` and -1 where there are no more rows.

        Raises
        ------
        FilterError
            `where` cannot be read, or names an unknown column or value.
        """
        k = check_count("k", k, most=max(self.n_rows, _MOST_PADDED))
        check_flags(distinct=distinct)
        check_where(where)
        if n_threads is not None:
            check_count("n_threads", n_threads)
        check_search_params(search_params, self.kind, self._segments[0].engine.search_params)
        queries = check_matrix(X, what="queries", dim=self.dim)
        self._mapped.check()
        filters = self._compile_filter(where, None if allowed is None else check_allowed(allowed))
        search = Search(self._segments, filters, n_threads, search_params)
        n_wanted = min(k, search.n_passing)
        parts = [] if len(queries) else [(np.empty((0, k), dtype=np.float32), np.empty((0, k), dtype=np.int64))]
        for start in range(0, len(queries), _BATCH):
            self._mapped.check()
            units = unit_rows(queries[start : start + _BATCH], what="queries", first=start)
            parts.append(search_queries(search, units, n_wanted, distinct=distinct))
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
        **search_params: Any,
    ) -> RadiusNeighbors:
        """Return all rows within a distance of each query.

        Parameters
        ----------
        X
            Queries (n, dim), as for :meth:`query`.
        max_distance
            Largest cosine distance, 0 to 2, inclusive; 0 finds equal rows.
        limit
            Largest number of neighbours of a query, the nearest; default: all.
        where, allowed, n_threads, search_params
            As for :meth:`query`.

        Returns
        -------
        `RadiusNeighbors` with `distances`, `ids` and `starts`. An index that is not exact finds as large a share of
        the rows as of the nearest: those close to `max_distance` are missed most.
        """
        check_range("max_distance", max_distance, 2)
        if limit is not None:
            check_count("limit", limit)
        queries = check_matrix(X, what="queries", dim=self.dim)
        options: dict[str, Any] = {"where": where, "allowed": allowed, "n_threads": n_threads, **search_params}
        self.query(queries[:0], 1, **options)  # refuses wrong arguments, whatever the number of rows and queries
        most = self.n_rows if limit is None else min(limit, self.n_rows)
        return find_within(lambda chunk, k: self.query(chunk, k, **options), queries, float(max_distance), most)

    def select(self, where: str) -> NDArray[np.int64]:
        """Return the ids of the rows that pass a filter, ascending."""
        self._mapped.check()
        parsed = self._parse(where)
        return merged([segment.select(parsed) for segment in self._segments])

    def obs(self, ids: ArrayLike, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return columns of `obs` of rows, a frame indexed by id in the order of `ids`.

        Raises
        ------
        KeyError
            An id or a column does not exist.
        """
        self._mapped.check()
        names = self.columns if columns is None else list(columns)
        refuse_absent(names, self.columns, of="the index")
        return frame_of(self._segments, check_wanted(ids), names, self._combined)

    def vectors(self, ids: ArrayLike) -> NDArray[np.float32]:
        """Return the unit rows of ids as the index stores them, (n, dim).

        Raises
        ------
        KeyError
            An id does not exist.
        """
        self._mapped.check()
        return vectors_of(self._segments, check_wanted(ids))

    def append(self, X: ArrayLike, ids: ArrayLike | None = None, *, obs: Table | None = None) -> None:
        """Add rows, which are found from the next query on.

        They are searched exactly, until :meth:`compact`: 10,000 of 128 numbers add about 0.25 ms to a query.

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
            An id exists already; nothing is appended.
        """
        self._mapped.check()
        matrix = check_matrix(X, what="rows", dim=self.dim)
        first = int(self.ids[-1]) + 1 if ids is None and self.n_rows else 0
        row_ids = check_ids(ids, len(matrix)) + first
        self._replace(append(self._segments, matrix, row_ids, columns_of(obs, len(matrix))))

    def delete(self, ids: ArrayLike) -> None:
        """Delete rows: they are no longer found. Their space is freed by :meth:`compact`.

        Raises
        ------
        KeyError
            An id is not in the index; nothing is deleted.
        """
        self._mapped.check()
        self._replace(delete(self._segments, check_allowed(ids)))

    def compact(self, *, rng: int | np.random.Generator | None = None, n_threads: int | None = None) -> None:
        """Rebuild the index from its rows, with the same kind and parameters: one segment, no deleted rows.

        It pays once appended rows are some per cent of all, or many were deleted.

        Raises
        ------
        ValueError
            All rows were deleted.
        """
        self._mapped.check()
        self._replace(compact(self._segments, rng, n_threads))
        self._mapped = MappedFiles()  # nothing is read from them any more

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the index as a folder of `index.json` and npy files; :func:`scim.index.open` reads it.

        Raises
        ------
        FileExistsError
            `path` exists and `overwrite` is false.
        """
        self._mapped.check()
        with new_folder(path, marker=HEADER, overwrite=overwrite) as folder:
            write_segments(folder, self._segments)

    def release_pages(self) -> None:
        """Release the pages of its files that were read: they count as memory of this process until it is needed."""
        for segment in self._segments:
            for array in segment.engine.arrays().values():
                release_pages(array, unwritten=True)  # open files are never written

    def _replace(self, segments: list[Segment]) -> None:
        self._segments = segments
        self._filters.clear()
        self._combined.clear()

    def _parse(self, where: str) -> Filter:
        parsed = Filter(where)
        parsed.check(*(segment.columns for segment in self._segments))
        return parsed

    def _compile_filter(self, where: str | None, allowed: NDArray[np.int64] | None) -> list[tuple[int, Any]]:
        """Return of each segment the number of passing rows and the filter compiled for its engine."""
        filters = self._filters.pop(where, None) if allowed is None else None
        if filters is None:
            parsed = None if where is None else self._parse(where)
            filters = [segment.compile_filter(parsed, allowed) for segment in self._segments]
        if allowed is None:
            self._filters[where] = filters  # the last used is last
        while len(self._filters) > _N_FILTERS:
            self._filters.popitem(last=False)
        return filters
