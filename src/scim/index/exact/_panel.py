"""Shortlists for many queries at once: a blocked product in single precision that feeds a list per query.

A panel holds `WIDTH` rows of the base, transposed, and stays in cache while all queries pass over it, four at a time:
four queries x four dimensions a step are 16 multiply-adds for 8 loads, and their factors fit the vector registers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim._core.numba import njit, njit_parallel, prange
from scim.index.exact._select import select_rows, tighten
from scim.index.exact._topk import empty_heaps, sort_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH = 512
_PANELS = 16  # that are looked at before the threads wait for each other
_STEP = 16  # scores that are compared with the bar at a time
_TASKS = 16  # more tasks than threads, so that a slow one does not hold up the rest


class Kept(NamedTuple):
    """Rows gathered for each query."""

    values: NDArray[np.float32]
    """(n, room): negated dots, in no order."""
    ranks: NDArray[np.int64]
    """(n, room): their ranks."""
    counts: NDArray[np.int64]
    """(n,): places in use."""
    bars: NDArray[np.float32]
    """(n,): a row must be below to be kept."""


def shortlist(
    X: NDArray[np.float32], rows: NDArray[np.float32], m: int, which: NDArray[np.int64] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return negated dots (n, m), ascending, each within dim * 2**-24 of the true one, and their ranks.

    `which` are the ranks to look at, ascending; `None` for all.
    """
    n, dim = X.shape
    queries = np.zeros((_up_to_four(n), _up_to_four(dim)), dtype=np.float32)
    queries[:n, :dim] = X
    counts, bars = np.zeros(len(queries), dtype=np.int64), np.full(len(queries), np.inf, dtype=np.float32)
    kept = Kept(*empty_heaps(len(queries), room_for(m)), counts, bars)
    panels = np.zeros((_PANELS, queries.shape[1], WIDTH), dtype=np.float32)
    scores = np.empty((_TASKS, 4, WIDTH), dtype=np.float32)
    names = np.arange(len(rows)) if which is None else which
    for start in range(0, len(names), _PANELS * WIDTH):
        some = np.zeros(_PANELS * WIDTH, dtype=np.int64)
        n_rows = min(len(some), len(names) - start)
        some[:n_rows] = names[start : start + n_rows]
        for first in range(0, n_rows, WIDTH):
            part = some[first : min(first + WIDTH, n_rows)]
            panels[first // WIDTH, :dim, : len(part)] = rows[part].T
        scan_panels(queries, panels, some, n_rows, m, scores, *kept)
    select_rows(m, kept.values, kept.ranks, kept.counts)
    values, ranks = kept.values[:n, :m].copy(), kept.ranks[:n, :m].copy()
    sort_rows(values, ranks)
    return values, ranks


def room_for(m: int) -> int:
    """Return the places that a query needs for a shortlist of `m`."""
    return 4 * m + 2 * _STEP


def _up_to_four(n: int) -> int:
    return n + -n % 4


@njit
def score_four(X: NDArray[np.float32], panel: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
    """Write the dots of four queries with the rows of the panel, (4, WIDTH)."""
    scores[:] = 0
    s0, s1, s2, s3 = scores[0], scores[1], scores[2], scores[3]
    for d in range(0, X.shape[1], 4):
        a0, a1, a2, a3 = X[0, d], X[0, d + 1], X[0, d + 2], X[0, d + 3]
        b0, b1, b2, b3 = X[1, d], X[1, d + 1], X[1, d + 2], X[1, d + 3]
        c0, c1, c2, c3 = X[2, d], X[2, d + 1], X[2, d + 2], X[2, d + 3]
        e0, e1, e2, e3 = X[3, d], X[3, d + 1], X[3, d + 2], X[3, d + 3]
        p0, p1, p2, p3 = panel[d], panel[d + 1], panel[d + 2], panel[d + 3]
        for j in range(WIDTH):
            s0[j] += a0 * p0[j] + a1 * p1[j] + a2 * p2[j] + a3 * p3[j]
            s1[j] += b0 * p0[j] + b1 * p1[j] + b2 * p2[j] + b3 * p3[j]
            s2[j] += c0 * p0[j] + c1 * p1[j] + c2 * p2[j] + c3 * p3[j]
            s3[j] += e0 * p0[j] + e1 * p1[j] + e2 * p2[j] + e3 * p3[j]


@njit
def keep_best(
    scores: NDArray[np.float32],
    names: NDArray[np.int64],
    n_rows: int,
    m: int,
    values: NDArray[np.float32],
    ranks: NDArray[np.int64],
    n_kept: int,
    bar: np.float32,
) -> tuple[int, np.float32]:
    """Keep the scores of a panel, `-inf` behind its last row, that are among the `m` best of one query so far.

    Rows are gathered until their places are full, and only then is the m-th best, the new bar, looked for:
    a heap would look for it at each row, at many times the cost.
    """
    for start in range(0, n_rows, _STEP):
        part, some = scores[start : start + _STEP], names[start : start + _STEP]
        n_better = np.int32(0)
        for j in range(_STEP):
            n_better += np.int32(-part[j] < bar)
        if n_better == 0:
            continue
        for j in range(_STEP):  # without a branch: which scores pass cannot be predicted
            values[n_kept] = -part[j]
            ranks[n_kept] = some[j]
            n_kept += -part[j] < bar
        if n_kept > values.shape[0] - _STEP:
            n_kept, bar = tighten(values[:n_kept], ranks[:n_kept], m)
    return n_kept, bar


@njit
def scan_some(
    X: NDArray[np.float32],
    panel: NDArray[np.float32],
    names: NDArray[np.int64],
    n_rows: int,
    m: int,
    scores: NDArray[np.float32],
    values: NDArray[np.float32],
    ranks: NDArray[np.int64],
    counts: NDArray[np.int64],
    bars: NDArray[np.float32],
) -> None:
    """Offer the rows of a panel to each query, four at a time."""
    for first in range(0, X.shape[0], 4):
        score_four(X[first : first + 4], panel, scores)
        for i in range(4):
            q = first + i
            scores[i, n_rows:] = -np.inf
            counts[q], bars[q] = keep_best(scores[i], names, n_rows, m, values[q], ranks[q], counts[q], bars[q])


@njit_parallel
def scan_panels(
    X: NDArray[np.float32],
    panels: NDArray[np.float32],
    names: NDArray[np.int64],
    n_rows: int,
    m: int,
    scores: NDArray[np.float32],
    values: NDArray[np.float32],
    ranks: NDArray[np.int64],
    counts: NDArray[np.int64],
    bars: NDArray[np.float32],
) -> None:
    """Share the queries, a multiple of four, among tasks; the last panel may be filled in part."""
    n_tasks, n_groups = scores.shape[0], X.shape[0] // 4
    for task in prange(n_tasks):
        a, b = 4 * (task * n_groups // n_tasks), 4 * ((task + 1) * n_groups // n_tasks)
        mine, v, r, c, h = scores[task], values[a:b], ranks[a:b], counts[a:b], bars[a:b]
        for start in range(0, n_rows, WIDTH):
            some = names[start : start + WIDTH]
            scan_some(X[a:b], panels[start // WIDTH], some, min(WIDTH, n_rows - start), m, mine, v, r, c, h)
