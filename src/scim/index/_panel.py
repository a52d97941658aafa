"""Shortlists for many queries at once: a blocked product in single precision that feeds a heap per query.

A panel holds `WIDTH` rows of the base, transposed, and stays in cache while all queries pass over it, four at a time:
four queries x four dimensions a step are 16 multiply-adds for 8 loads, and their factors fit the vector registers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.numba import njit, njit_parallel, prange
from scim.index._topk import empty_heaps, sift, sort_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH = 512
_STEP = 32  # scores that are compared with the worst kept one before a heap is touched
_TASKS = 16  # more tasks than threads, so that a slow one does not hold up the rest


def shortlist(
    X: NDArray[np.float32], rows: NDArray[np.float32], m: int, which: NDArray[np.int64] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return negated dots (n, m), ascending, each within dim * 2**-24 of the true one, and their ranks.

    `which` are the ranks to look at, ascending; `None` for all.
    """
    n, dim = X.shape
    queries = np.zeros((_up_to_four(n), _up_to_four(dim)), dtype=np.float32)
    queries[:n, :dim] = X
    values, ranks = empty_heaps(len(queries), m)
    panel = np.zeros((queries.shape[1], WIDTH), dtype=np.float32)
    scores = np.empty((_TASKS, 4, WIDTH), dtype=np.float32)
    n_candidates = len(rows) if which is None else len(which)
    for start in range(0, n_candidates, WIDTH):
        stop = min(start + WIDTH, n_candidates)
        names = np.arange(start, stop) if which is None else which[start:stop]
        panel[:dim, : stop - start] = (rows[start:stop] if which is None else rows[names]).T
        scan_panel(queries, panel, names, scores, values, ranks)
    sort_rows(values, ranks)
    return values[:n], ranks[:n]


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
    scores: NDArray[np.float32], names: NDArray[np.int64], values: NDArray[np.float32], ranks: NDArray[np.int64]
) -> None:
    """Offer the scores of a panel, `-inf` behind its last row, to the heap of one query."""
    for start in range(0, names.shape[0], _STEP):
        part = scores[start : start + _STEP]
        bar = -values[0]
        n_better = 0
        for j in range(_STEP):
            n_better += part[j] > bar
        if n_better == 0:
            continue
        for j in range(_STEP):
            if -part[j] < values[0]:
                sift(values, ranks, 0, -part[j], names[start + j])


@njit
def scan_some(
    X: NDArray[np.float32],
    panel: NDArray[np.float32],
    names: NDArray[np.int64],
    scores: NDArray[np.float32],
    values: NDArray[np.float32],
    ranks: NDArray[np.int64],
) -> None:
    """Offer the rows of a panel to the heap of each query, four at a time."""
    for first in range(0, X.shape[0], 4):
        score_four(X[first : first + 4], panel, scores)
        for i in range(4):
            scores[i, names.shape[0] :] = -np.inf
            keep_best(scores[i], names, values[first + i], ranks[first + i])


@njit_parallel
def scan_panel(
    X: NDArray[np.float32],
    panel: NDArray[np.float32],
    names: NDArray[np.int64],
    scores: NDArray[np.float32],
    values: NDArray[np.float32],
    ranks: NDArray[np.int64],
) -> None:
    """Share the queries, a multiple of four, among tasks."""
    n_tasks, n_groups = scores.shape[0], X.shape[0] // 4
    for task in prange(n_tasks):
        start, stop = 4 * (task * n_groups // n_tasks), 4 * ((task + 1) * n_groups // n_tasks)
        scan_some(X[start:stop], panel, names, scores[task], values[start:stop], ranks[start:stop])
