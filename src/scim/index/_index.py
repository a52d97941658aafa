"""The index as its users see it: queries, filters, growth, on top of any engine."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core.checks import check_count
from scim.index._answers import Neighbors, Within
from scim.index._check import check_allowed, check_distance, check_ids, check_known, check_matrix
from scim.index._files import save_index
from scim.index._make import ASKED, make_engine
from scim.index._segment import Segment
from scim.index._source import IndexSource
from scim.index._table import columns_of, joined
from scim.index._twins import twins
from scim.index._unit import unit_rows
from scim.index.exact._exact import ExactEngine
from scim.index.exact._topk import sort_rows
from scim.index.filter import Column, Where

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from scim.index._table import Table

_NOTHING, _NO_IDS = np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
_BATCH = 8192
"""Queries that are worked on together, so that memory does not grow with their number."""
_N_FILTERS = 16
"""Filters that are remembered."""
_SPARE = 16
"""Hits that are looked for beyond those wanted, in case some are twins."""
_FIRST = 64
"""Neighbours that are looked for within a distance at first; four times as many where that was not enough."""


class Index:
    """Rows of unit length with an id each, that can be asked for the nearest of any vector.

    Made by :func:`scim.index.build` or :func:`scim.index.open`. Appended rows form a second part that is searched in
    full, until :meth:`compact` makes one part of both.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = list(segments)
        self._filters: OrderedDict[str, list[Any]] = OrderedDict()

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
        """Number of rows that were appended since the index was built; :meth:`compact` takes them in."""
        return sum(segment.n_rows for segment in self._segments[1:])

    @property
    def dim(self) -> int:
        """Number of columns of the rows."""
        return self._segments[0].engine.dim

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of all rows, ascending."""
        parts = [segment.ids for segment in self._segments]
        ids = parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts))
        ids = ids.view()
        ids.flags.writeable = False
        return ids

    @property
    def columns(self) -> list[str]:
        """Names of the columns of `obs` that `where` can speak of."""
        return list(dict.fromkeys(name for segment in self._segments for name in segment.columns))

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
            `"tissue in ['lung', 'blood'] and not age < 30"`. It is compiled once; a second query with it starts at once.
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
        self._check_knobs(knobs)
        queries = check_matrix(X, what="queries", dim=self.dim)
        passing = self._passing(where, None if allowed is None else check_allowed(allowed))
        n_passing = sum(self._n_passing(passing))
        distances = np.full((len(queries), k), np.inf, dtype=np.float32)
        ids = np.full((len(queries), k), -1, dtype=np.int64)
        for start in range(0, len(queries), _BATCH):
            part = slice(start, start + _BATCH)
            units = unit_rows(queries[part], what="queries", first=start)
            find = self._find_distinct if distinct else self._find
            near, names = find(units, min(k, n_passing), passing, n_threads, knobs)
            distances[part, : near.shape[1]], ids[part, : near.shape[1]] = near, names
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
        most = self.n_rows if limit is None else min(limit, self.n_rows)
        found: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = [(_NOTHING, _NO_IDS)] * len(queries)
        open_ones, k = np.arange(len(queries)), min(_FIRST, most)
        while len(open_ones):
            near = self.query(queries[open_ones], k, where=where, allowed=allowed, n_threads=n_threads, **knobs)
            inside = (near.distances <= radius).sum(axis=1)
            for i, n in zip(open_ones, inside, strict=True):
                row = np.searchsorted(open_ones, i)
                found[i] = near.distances[row, :n], near.ids[row, :n]
            open_ones = open_ones[inside == k] if k < most else _NO_IDS
            k = min(4 * k, most)
        starts = np.concatenate([[0], np.cumsum([len(distances) for distances, _ in found])])
        parts = [
            np.concatenate([part[i] for part in found] or [nothing]) for i, nothing in enumerate((_NOTHING, _NO_IDS))
        ]
        return Within(*parts, starts.astype(np.int64))

    def select(self, where: str) -> NDArray[np.int64]:
        """Return the ids of the rows that pass a filter, ascending."""
        parsed = self._parse(where)
        parts = []
        for segment in self._segments:
            mask = parsed.mask(segment.columns, segment.engine.n_rows)
            if segment.gone is not None:
                mask &= ~segment.gone
            parts.append(segment.ids_of(np.sort(segment.engine.ranks_at(np.flatnonzero(mask)))))
        return np.sort(np.concatenate(parts))

    def obs(self, ids: ArrayLike, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return columns of `obs` of rows, a frame indexed by id in the order of `ids`.

        Raises
        ------
        KeyError
            An id or a column does not exist.
        """
        names = self.columns if columns is None else check_known("columns", list(columns), self.columns)
        wanted = np.asarray(ids, dtype=np.int64).ravel()
        where = self._locate(wanted)
        frame = pd.DataFrame(index=pd.Index(wanted, name="id"))
        for name in names:
            frame[name] = self._values(name, where)
        return frame

    def vectors(self, ids: ArrayLike) -> NDArray[np.float32]:
        """Return the unit rows of ids as the index keeps them, (n, dim).

        Raises
        ------
        KeyError
            An id does not exist.
        """
        wanted = np.asarray(ids, dtype=np.int64).ravel()
        out = np.empty((len(wanted), self.dim), dtype=np.float32)
        for segment, mine, ranks in self._locate(wanted):
            out[mine] = segment.engine.vectors(ranks)
        return out

    def append(self, X: ArrayLike, ids: ArrayLike | None = None, *, obs: Table | None = None) -> None:
        """Add rows, which are searched at once.

        Appended rows are searched one and all, beside the index: 10,000 of them add about 0.3 ms to a query. When they
        have become many, :meth:`compact`.

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
        first = int(self.ids[-1]) + 1 if self.n_rows else 0
        own = check_ids(ids, len(matrix)) + (first if ids is None else 0)
        present = np.concatenate([segment.locate(own)[1] for segment in self._segments])
        if present.any():
            known = own[np.flatnonzero(present) % len(own)]
            msg = f"{present.sum()} of the `ids` are in the index already, the first is {known[0]}; pass new ones."
            raise ValueError(msg)
        columns = columns_of(obs, len(matrix))
        if len(matrix) == 0:
            return
        units = unit_rows(matrix, what="rows")
        for segment in self._segments[1:]:
            units = np.concatenate([segment.engine.vectors(np.arange(segment.engine.n_rows)), units])
            columns = joined(segment.columns, columns, segment.engine.n_rows, len(own))
            own = np.concatenate([segment.every_id, own])
        order = np.argsort(own, kind="stable")
        gone = [np.zeros(len(own), dtype=np.bool_)]
        for segment in self._segments[1:]:
            gone[0][: segment.engine.n_rows] = False if segment.gone is None else segment.gone
        tail = ExactEngine(units[order])
        columns = {name: column.take(order) for name, column in columns.items()}
        self._replace(
            [self._segments[0], Segment(tail, own[order], columns, gone[0][order] if gone[0].any() else None)]
        )

    def delete(self, ids: ArrayLike) -> None:
        """Delete rows: they are answered no more. Their room is given back by :meth:`compact`.

        Raises
        ------
        KeyError
            An id is not in the index; nothing is deleted.
        """
        wanted = check_allowed(ids)
        lost = [(segment, ranks) for segment, _, ranks in self._locate(wanted)]
        self._replace(
            [
                next((segment.without(ranks) for other, ranks in lost if other is segment), segment)
                for segment in self._segments
            ]
        )

    def compact(self, *, rng: int | np.random.Generator | None = None, n_threads: int | None = None) -> None:
        """Build the index anew from the rows it has, with the same kind and parameters: one part, no deleted rows.

        It pays once appended rows are some per cent of all, or many were deleted.

        Raises
        ------
        ValueError
            All rows were deleted.
        """
        if self.n_rows == 0:
            msg = "All rows were deleted; an index needs at least one."
            raise ValueError(msg)
        source = IndexSource(self)
        kept = {name: value for name, value in self.params.items() if name in ASKED}
        engine = make_engine(self.kind, source, rng, n_threads, **kept)
        order = engine.ranks_at(np.arange(engine.n_rows))
        frame = self.obs(source.ids)
        columns = {name: Column.of(name, frame[name]).take(order) for name in frame}
        ids = source.ids
        self._replace([Segment(engine, None if ids[0] == 0 and ids[-1] == len(ids) - 1 else ids, columns)])

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the index as a folder of `index.json` and npy files; :func:`scim.index.open` reads it.

        Raises
        ------
        FileExistsError
            `path` exists and `overwrite` is false.
        """
        save_index(path, self._segments, overwrite=overwrite)

    def _replace(self, segments: list[Segment]) -> None:
        self._segments = segments
        self._filters.clear()

    def _check_knobs(self, knobs: Mapping[str, Any]) -> None:
        known = self._segments[0].engine.knobs
        unknown = sorted(set(knobs) - set(known))
        if unknown:
            msg = f"Unknown parameter {unknown[0]!r} of a query of an index of kind {self.kind!r}; it takes {known}."
            raise TypeError(msg)
        if (recall := knobs.get("recall")) is not None and not 0 < recall <= 1:
            msg = f"`recall` must be above 0 and at most 1, got {recall!r}."
            raise ValueError(msg)

    def _parse(self, where: str) -> Where:
        parsed = Where(where)
        parsed.check(*(segment.columns for segment in self._segments))
        return parsed

    def _passing(self, where: str | None, allowed: NDArray[np.int64] | None) -> list[Any]:
        """Return what passes in each segment, as its engine wants it."""
        if allowed is not None:
            parsed = None if where is None else self._parse(where)
            return [segment.passing(parsed, allowed) for segment in self._segments]
        key = where or ""
        if key not in self._filters:
            parsed = None if where is None else self._parse(where)
            self._filters[key] = [segment.passing(parsed, None) for segment in self._segments]
            while len(self._filters) > _N_FILTERS:
                self._filters.popitem(last=False)
        self._filters.move_to_end(key)
        return self._filters[key]

    def _n_passing(self, passing: list[Any]) -> list[int]:
        pairs = zip(self._segments, passing, strict=True)
        return [segment.engine.n_rows if some is None else some.n for segment, some in pairs]

    def _find(
        self, X: NDArray[np.float32], k: int, passing: list[Any], n_threads: int | None, knobs: Mapping[str, Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return distances and ids of unit queries, (n, k), of at most as many rows as pass."""
        parts = []
        for segment, some, n in zip(self._segments, passing, self._n_passing(passing), strict=True):
            if n and k:
                known = {name: value for name, value in knobs.items() if name in segment.engine.knobs}
                distances, ranks = segment.engine.search(X, min(k, n), some, n_threads, **known)
                parts.append((distances, segment.ids_of(ranks)))
        if not parts:
            return np.empty((len(X), 0), dtype=np.float32), np.empty((len(X), 0), dtype=np.int64)
        if len(parts) == 1:
            return parts[0]
        distances, ids = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        sort_rows(distances, ids)
        return distances[:, :k], ids[:, :k]

    def _find_distinct(
        self, X: NDArray[np.float32], k: int, passing: list[Any], n_threads: int | None, knobs: Mapping[str, Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Do the same without twins: look for more where too few are left."""
        n_passing = sum(self._n_passing(passing))
        out = np.full((len(X), k), np.inf, dtype=np.float32), np.full((len(X), k), -1, dtype=np.int64)
        short, wanted = np.arange(len(X)), min(n_passing, k + _SPARE)
        while len(short):
            distances, ids = self._find(X[short], wanted, passing, n_threads, knobs)
            twin = twins(distances, ids, self.vectors)
            order = np.argsort(twin, axis=1, kind="stable")[:, :k]
            twin = np.take_along_axis(twin, order, axis=1)
            out[0][short, : order.shape[1]] = np.where(twin, np.inf, np.take_along_axis(distances, order, axis=1))
            out[1][short, : order.shape[1]] = np.where(twin, -1, np.take_along_axis(ids, order, axis=1))
            short = short[twin.any(axis=1)] if wanted < n_passing else short[:0]
            wanted = min(4 * wanted, n_passing)
        return out

    def _locate(self, ids: NDArray[np.int64]) -> list[tuple[Segment, NDArray[np.int64], NDArray[np.int64]]]:
        """Return which of the ids each segment has, and their ranks there."""
        found, missing = [], np.ones(len(ids), dtype=np.bool_)
        for segment in self._segments:
            ranks, known = segment.locate(ids)
            found.append((segment, np.flatnonzero(known), ranks[known]))
            missing &= ~known
        if missing.any():
            msg = f"{missing.sum()} of {len(ids)} ids are not in the index, the first is {ids[np.argmax(missing)]}."
            raise KeyError(msg)
        return found

    def _values(self, name: str, where: list[tuple[Segment, NDArray[np.int64], NDArray[np.int64]]]) -> Any:
        parts = [
            (mine, segment.columns[name].decode(segment.engine.places_of(ranks)))
            for segment, mine, ranks in where
            if name in segment.columns
        ]
        n = sum(len(mine) for _, mine, _ in where)
        if len(parts) == 1 and len(parts[0][0]) == n:
            return parts[0][1].array
        values = np.full(n, None, dtype=object)
        for mine, part in parts:
            values[mine] = part.astype(object).where(part.notna(), None)
        return Column.of(name, values).decode().array
