"""Find the exact nearest rows of many queries: a blocked product in single precision, re-ranked in double precision.

A tile holds `WIDTH` rows, transposed, and stays in cache while all queries pass over it, four at a time:
four queries x four dimensions a step are 16 multiply-adds for 8 loads, and their factors fit the vector registers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.cosine import EQUAL, measure
from scim._core.numba import njit, njit_parallel, prange
from scim._core.topk import empty_heaps, keep_nearest, select_rows, sort_rows, tighten

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.types import Floats, Ints

    Groups = tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]  # of queries (n,), of rows (n_rows,)

WIDTH = 512
_FEW = 16  # queries for which transposing the rows does not pay
_MANY = 4096  # queries that pass over the rows together at most
_CANDIDATE_BYTES = 1 << 26  # of the candidates of queries that pass together
_MARGIN = 16  # candidates beyond k
_SCAN_BYTES = 1 << 25  # of the distances that a direct scan holds at a time
_ROUNDING = 2.0**-20  # of distances to float32, and of unit lengths, generously
_TILES = 16  # that are scanned before the threads wait for each other
_STEP = 16  # scores that are compared with the bound at a time
_TASKS = 16  # more tasks than threads, so that a slow one does not hold up the rest


def nearest(
    X: Floats, rows: Floats, k: int, *, which: Ints | None = None, apart: Groups | None = None
) -> tuple[Floats, Ints]:
    """Return distances and positions (n, k) of the exact nearest rows, by cosine distance and then by position.

    Queries (n, dim) and rows (n_rows, dim) have unit length. Only rows at the ascending positions `which` are searched
    (default: all), and, with `apart`, groups of the queries (n,) and of the rows (n_rows,), only those of other groups.
    Where there are fewer than `k` rows, the rest is `inf` and -1. :func:`scim._core.numba.threads` sets the threads.
    """
    candidates = np.arange(len(rows)) if which is None else which
    groups = np.empty((2, 0), dtype=np.int64) if apart is None else [np.asarray(of, dtype=np.int64) for of in apart]
    step = min(_MANY, max(_FEW, _CANDIDATE_BYTES // (12 * capacity(k + _MARGIN))))
    parts = []
    for start in range(0, max(len(X), 1), step):
        chunk = slice(start, start + step)
        parts.append(_nearest(X[chunk], rows, k, candidates, groups[0][chunk], groups[1]))
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([d for d, _ in parts]), np.concatenate([positions for _, positions in parts])


def _nearest(
    X: Floats, rows: Floats, k: int, candidates: Ints, query_groups: Ints, row_groups: Ints
) -> tuple[Floats, Ints]:
    if len(X) < _FEW or 2 * (k + _MARGIN) > len(candidates):
        return _scan(X, rows, k, candidates, query_groups, row_groups)
    values, ranks = shortlist(X, rows, k + _MARGIN, candidates, query_groups, row_groups)
    distances = measure(X, rows, ranks)
    sort_rows(distances, ranks)
    distances, ranks = distances[:, :k].copy(), ranks[:, :k].copy()
    # Each value is off by at most dim * 2**-24. Where the last candidate is farther behind the k-th than both errors,
    # no other row can belong to the result; elsewhere (many near-equal rows) every row is measured.
    slack = 2 * X.shape[1] * 2.0**-24 + _ROUNDING + EQUAL
    unsure = np.flatnonzero(np.isfinite(values[:, -1]) & (values[:, -1] <= values[:, k - 1] + slack))
    if len(unsure):
        groups = query_groups[unsure] if len(query_groups) else query_groups
        distances[unsure], ranks[unsure] = _scan(X[unsure], rows, k, candidates, groups, row_groups)
    return distances, ranks


def _scan(
    X: Floats, rows: Floats, k: int, candidates: Ints, query_groups: Ints, row_groups: Ints
) -> tuple[Floats, Ints]:
    """Measure every candidate in double precision."""
    distances, ranks = empty_heaps(len(X), k)
    step = max(256, _SCAN_BYTES // (4 * max(1, len(X))))
    for start in range(0, len(candidates), step):
        chunk = candidates[start : start + step]
        measured = measure(X, rows, chunk[None])
        if len(row_groups):
            measured[query_groups[:, None] == row_groups[chunk]] = np.inf
        keep_nearest(measured, chunk, distances, ranks)
    sort_rows(distances, ranks)
    return distances, ranks


def shortlist(
    X: Floats, rows: Floats, m: int, candidates: Ints, query_groups: Ints, row_groups: Ints
) -> tuple[Floats, Ints]:
    """Return negated dots (n, m), ascending, each within dim * 2**-24 of the true one, and the positions of the rows.

    The groups of queries (n,) and of rows (n_rows,), which are kept apart, may both be empty.
    """
    n, dim = X.shape
    queries = np.zeros((n + -n % 4, dim + -dim % 4), dtype=np.float32)
    queries[:n, :dim] = X
    query_groups = np.pad(query_groups, (0, -n % 4))
    values, ranks = empty_heaps(len(queries), capacity(m))
    counts, bounds = np.zeros(len(queries), dtype=np.int64), np.full(len(queries), np.inf, dtype=np.float32)
    tiles = np.zeros((_TILES, queries.shape[1], WIDTH), dtype=np.float32)
    scores = np.empty((_TASKS, 4, WIDTH), dtype=np.float32)
    for start in range(0, len(candidates), _TILES * WIDTH):
        positions = np.zeros(_TILES * WIDTH, dtype=np.int64)
        n_rows = min(len(positions), len(candidates) - start)
        positions[:n_rows] = candidates[start : start + n_rows]
        for first in range(0, n_rows, WIDTH):
            chunk = positions[first : min(first + WIDTH, n_rows)]
            tiles[first // WIDTH, :dim, : len(chunk)] = rows[chunk].T
        groups = row_groups[positions] if len(row_groups) else row_groups
        scan_tiles(queries, tiles, positions, n_rows, m, query_groups, groups, scores, values, ranks, counts, bounds)
    select_rows(m, values, ranks, counts)
    values, ranks = values[:n, :m].copy(), ranks[:n, :m].copy()
    sort_rows(values, ranks)
    return values, ranks


def capacity(m: int) -> int:
    """Return the number of candidates that a query holds at most while its best `m` are found."""
    return 4 * m + 2 * _STEP


@njit
def score_four(X: Floats, tile: Floats, scores: Floats) -> None:
    """Write the dots of four rows with the columns of a tile, (4, WIDTH); dimensions come in whole fours."""
    scores[:] = 0
    s0, s1, s2, s3 = scores[0], scores[1], scores[2], scores[3]
    for d in range(0, X.shape[1], 4):
        a0, a1, a2, a3 = X[0, d], X[0, d + 1], X[0, d + 2], X[0, d + 3]
        b0, b1, b2, b3 = X[1, d], X[1, d + 1], X[1, d + 2], X[1, d + 3]
        c0, c1, c2, c3 = X[2, d], X[2, d + 1], X[2, d + 2], X[2, d + 3]
        e0, e1, e2, e3 = X[3, d], X[3, d + 1], X[3, d + 2], X[3, d + 3]
        p0, p1, p2, p3 = tile[d], tile[d + 1], tile[d + 2], tile[d + 3]
        for j in range(WIDTH):  # a constant: a tenth faster than a width that varies
            s0[j] += a0 * p0[j] + a1 * p1[j] + a2 * p2[j] + a3 * p3[j]
            s1[j] += b0 * p0[j] + b1 * p1[j] + b2 * p2[j] + b3 * p3[j]
            s2[j] += c0 * p0[j] + c1 * p1[j] + c2 * p2[j] + c3 * p3[j]
            s3[j] += e0 * p0[j] + e1 * p1[j] + e2 * p2[j] + e3 * p3[j]


@njit
def keep_best(
    scores: Floats, positions: Ints, n_rows: int, m: int, values: Floats, ranks: Ints, n_kept: int, bound: np.float32
) -> tuple[int, np.float32]:
    """Keep the scores of a tile, `-inf` behind its last row, that are among the `m` best of one query so far.

    Rows are gathered until their capacity is reached, and only then is the m-th best, the new bound, computed:
    a heap would compute it at each row, at many times the cost.
    """
    for start in range(0, n_rows, _STEP):
        chunk, chunk_positions = scores[start : start + _STEP], positions[start : start + _STEP]
        n_better = np.int32(0)
        for j in range(_STEP):
            n_better += np.int32(-chunk[j] < bound)
        if n_better == 0:
            continue
        for j in range(_STEP):  # without a branch: which scores pass cannot be predicted
            values[n_kept] = -chunk[j]
            ranks[n_kept] = chunk_positions[j]
            n_kept += -chunk[j] < bound
        if n_kept > values.shape[0] - _STEP:
            n_kept, bound = tighten(values[:n_kept], ranks[:n_kept], m)
    return n_kept, bound


@njit
def scan_tile(
    X: Floats,
    tile: Floats,
    positions: Ints,
    n_rows: int,
    m: int,
    scores: Floats,
    values: Floats,
    ranks: Ints,
    counts: Ints,
    bounds: Floats,
) -> None:
    """Offer the rows of a tile to each query, four at a time."""
    for first in range(0, X.shape[0], 4):
        score_four(X[first : first + 4], tile, scores)
        for i in range(4):
            q = first + i
            scores[i, n_rows:] = -np.inf
            counts[q], bounds[q] = keep_best(scores[i], positions, n_rows, m, values[q], ranks[q], counts[q], bounds[q])


@njit
def scan_tile_apart(
    X: Floats,
    tile: Floats,
    positions: Ints,
    n_rows: int,
    m: int,
    query_groups: Ints,
    row_groups: Ints,
    scores: Floats,
    values: Floats,
    ranks: Ints,
    counts: Ints,
    bounds: Floats,
) -> None:
    """Do the same without rows of the group of the query; kept apart, since the branch would slow the other down."""
    for first in range(0, X.shape[0], 4):
        score_four(X[first : first + 4], tile, scores)
        for i in range(4):
            q = first + i
            scores[i, n_rows:] = -np.inf
            for j in range(n_rows):
                if row_groups[j] == query_groups[q]:
                    scores[i, j] = -np.inf
            counts[q], bounds[q] = keep_best(scores[i], positions, n_rows, m, values[q], ranks[q], counts[q], bounds[q])


@njit_parallel
def scan_tiles(
    X: Floats,
    tiles: Floats,
    positions: Ints,
    n_rows: int,
    m: int,
    query_groups: Ints,
    row_groups: Ints,
    scores: Floats,
    values: Floats,
    ranks: Ints,
    counts: Ints,
    bounds: Floats,
) -> None:
    """Share the queries, a multiple of four, among tasks; the last tile may be filled in part."""
    n_tasks, n_fours = scores.shape[0], X.shape[0] // 4
    for task in prange(n_tasks):
        a, b = 4 * (task * n_fours // n_tasks), 4 * ((task + 1) * n_fours // n_tasks)
        dots, v, r, c, h = scores[task], values[a:b], ranks[a:b], counts[a:b], bounds[a:b]
        for start in range(0, n_rows, WIDTH):
            tile, names, n = tiles[start // WIDTH], positions[start : start + WIDTH], min(WIDTH, n_rows - start)
            if row_groups.shape[0] == 0:
                scan_tile(X[a:b], tile, names, n, m, dots, v, r, c, h)
            else:
                of_rows = row_groups[start : start + WIDTH]
                scan_tile_apart(X[a:b], tile, names, n, m, query_groups[a:b], of_rows, dots, v, r, c, h)
