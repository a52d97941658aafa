"""Search several segments as one: merge their results, leave out duplicates, and collect all rows within a distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scim._core.cosine import is_directed
from scim._core.numba import njit_parallel, prange, threads
from scim._core.topk import empty_heaps, sort_rows
from scim.index._segments import vectors_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from scim._core.types import Bools, Floats, Ints
    from scim.index._segments import Segment

    Hits = tuple[Floats, Ints]
    Vectors = Callable[[Ints, int | None], Floats]

_SORTING = 64  # multiplications that sorting one hit takes as long as
_SPARE = 16  # hits that are searched beyond those wanted, in case some are duplicates
_HEAD = 16  # numbers of a row that are compared first: most queries have no duplicates
_FIRST = 64  # neighbours that a radius query searches at first; four times as many where those do not suffice
_SAME = np.float32(3e-5)  # largest difference of equal entries of unit rows: a stored row is exact to half of it
_EVEN = np.float32(4e-5)  # largest difference of distances of equal rows: one may be coded, with errors, the other not


class Neighbors(NamedTuple):
    """The nearest rows of each query, nearest first.

    Attributes
    ----------
    distances
        float32 (n, k): cosine distances, ascending, 0 below 1e-6; `inf` where fewer than k rows were found.
    ids
        int64 (n, k): ids of the rows; -1 where fewer than k rows were found.
    """

    distances: Floats
    ids: Ints


class RadiusNeighbors(NamedTuple):
    """The rows within a distance of each query; those of query i are at `starts[i] : starts[i + 1]`, nearest first.

    Attributes
    ----------
    distances
        float32 (n_hits,): cosine distances.
    ids
        int64 (n_hits,): ids of the rows.
    starts
        int64 (n + 1,): where the hits of each query start.
    """

    distances: Floats
    ids: Ints
    starts: Ints


class Search(NamedTuple):
    """The segments to search and how, the same for all queries of a call."""

    segments: Sequence[Segment]
    filters: Sequence[tuple[int, Any]]  # of each segment: number of passing rows, compiled filter (`None`: all rows)
    n_threads: int | None
    params: Mapping[str, Any]

    @property
    def n_passing(self) -> int:
        """Number of rows that pass the filter and are not zero."""
        return sum(n for n, _ in self.filters)


def search_queries(search: Search, X: Floats, k: int, *, distinct: bool) -> Hits:
    """Return distances and ids of the nearest rows of unit queries, (n, k); a row of zeros finds nothing."""
    directed, find_rows = is_directed(X), find_distinct if distinct else find
    if directed.all():
        return find_rows(search, X, k)
    distances, ids = empty_heaps(len(X), k)
    if directed.any():
        distances[directed], ids[directed] = find_rows(search, X[directed], k)
    return distances, ids


def find(search: Search, X: Floats, k: int) -> Hits:
    """Return distances and ids of the nearest rows of unit queries, (n, k); at least `k` rows pass."""
    parts = []
    for segment, (n, row_filter) in zip(search.segments, search.filters, strict=True):
        if n and k:
            taken = {name: value for name, value in search.params.items() if name in segment.engine.search_params}
            distances, ranks = segment.engine.search(X, min(k, n), row_filter, search.n_threads, **taken)
            parts.append((distances, segment.ids_of(ranks)))
    if not parts:
        return np.empty((len(X), 0), dtype=np.float32), np.empty((len(X), 0), dtype=np.int64)
    if len(parts) == 1:
        return parts[0]
    distances, ids = np.concatenate([d for d, _ in parts], axis=1), np.concatenate([i for _, i in parts], axis=1)
    with threads(search.n_threads, work=distances.size * _SORTING):
        sort_rows(distances, ids)
    return distances[:, :k], ids[:, :k]


def find_distinct(search: Search, X: Floats, k: int) -> Hits:
    """Do the same without duplicates, `inf` and -1 behind; more hits are searched where too few are left."""
    n_passing = search.n_passing
    out = empty_heaps(len(X), k)
    short, wanted = np.arange(len(X)), min(n_passing, k + _SPARE)
    while len(short):
        distances, ids = find(search, X[short], wanted)
        duplicate = duplicates(distances, ids, lambda hits, n: vectors_of(search.segments, hits, n))
        if not duplicate.any():
            out[0][short, : distances.shape[1]], out[1][short, : ids.shape[1]] = distances[:, :k], ids[:, :k]
            break
        order = np.argsort(duplicate, axis=1, kind="stable")[:, :k]
        duplicate = np.take_along_axis(duplicate, order, axis=1)
        out[0][short, : order.shape[1]] = np.where(duplicate, np.inf, np.take_along_axis(distances, order, axis=1))
        out[1][short, : order.shape[1]] = np.where(duplicate, -1, np.take_along_axis(ids, order, axis=1))
        short = short[duplicate.any(axis=1)] if wanted < n_passing else short[:0]
        wanted = min(4 * wanted, n_passing)
    return out


def find_within(
    query: Callable[[NDArray[Any], int], Neighbors], X: NDArray[Any], max_distance: float, most: int
) -> RadiusNeighbors:
    """Return the rows within a distance of each query, at most `most`; `query` finds the k nearest."""
    distances = [np.empty(0, dtype=np.float32)] * len(X)
    ids = [np.empty(0, dtype=np.int64)] * len(X)
    left, k = np.arange(len(X)), min(_FIRST, most)
    while len(left) and k:
        near = query(X[left], k)
        inside = (near.distances <= max_distance).sum(axis=1)
        for row, (number, n) in enumerate(zip(left, inside, strict=True)):
            distances[number], ids[number] = near.distances[row, :n], near.ids[row, :n]
        left = left[inside == k] if k < most else left[:0]
        k = min(4 * k, most)
    starts = np.cumsum([0, *map(len, ids)])
    no_distance, no_id = np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
    return RadiusNeighbors(np.concatenate([no_distance, *distances]), np.concatenate([no_id, *ids]), starts)


def duplicates(distances: Floats, ids: Ints, vectors: Vectors) -> Bools:
    """Return which hits equal an earlier hit of their query, (n, k).

    Only rows at the same distance are read, with `vectors`: their first numbers, and where those are equal all numbers.
    """
    equal = _equal(distances, ids, vectors, _HEAD)
    queries = np.flatnonzero(equal.any(axis=1))
    if queries.size:
        equal[queries] = _equal(distances[queries], ids[queries], vectors, None)
    return equal


def _equal(distances: Floats, ids: Ints, vectors: Vectors, n: int | None) -> Bools:
    """Return which hits equal an earlier hit of their query in their first `n` numbers."""
    real = ids >= 0
    even = (distances[:, 1:] - distances[:, :-1] <= _EVEN) & real[:, 1:]
    tied = np.zeros(ids.shape, dtype=np.bool_)
    tied[:, 1:] |= even
    tied[:, :-1] |= even
    duplicate = np.zeros(ids.shape, dtype=np.bool_)
    if tied.any():
        unique, inverse = np.unique(ids[tied], return_inverse=True)
        which = np.full(ids.shape, -1, dtype=np.int64)
        which[tied] = inverse
        mark_duplicates(distances, which, vectors(unique, n), duplicate)
    return duplicate


@njit_parallel
def mark_duplicates(distances: Floats, which: Ints, rows: Floats, duplicate: Bools) -> None:
    """Mark hits that have the row, numbered by `which`, of an earlier unmarked hit at the same distance."""
    for i in prange(which.shape[0]):
        for j in range(1, which.shape[1]):
            if which[i, j] < 0:
                continue
            row = rows[which[i, j]]
            for before in range(j - 1, -1, -1):
                if which[i, before] < 0 or distances[i, j] - distances[i, before] > _EVEN:
                    break
                if duplicate[i, before]:
                    continue
                earlier, same = rows[which[i, before]], True
                for d in range(row.shape[0]):
                    if abs(row[d] - earlier[d]) > _SAME:
                        same = False
                        break
                if same:
                    duplicate[i, j] = True
                    break
