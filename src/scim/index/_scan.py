"""The scan of an inverted file: lists in the order of their centroids, rows into a heap per query."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim._core.numba import njit, njit_parallel, prange
from scim.index._topk import make_heap, sift

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Lists(NamedTuple):
    """Rows stored list by list."""

    starts: NDArray[np.int64]
    """(n_lists + 1,): where each list starts."""
    rows: NDArray[np.float32]
    """(n_rows, dim): unit rows."""
    ranks: NDArray[np.int64]
    """(n_rows,): ranks of the rows, ascending within a list."""


@njit
def scan_list(
    query: NDArray[np.float32],
    start: int,
    stop: int,
    rows: NDArray[np.float32],
    ranks: NDArray[np.int64],
    passes: NDArray[np.bool_],
    values: NDArray[np.float32],
    kept: NDArray[np.int64],
) -> int:
    """Offer the rows from `start` to `stop` that pass to the heap, and return how many those are."""
    n_passing = 0
    for place in range(start, stop):
        rank = ranks[place]
        if passes.shape[0] > 0 and not passes[rank]:
            continue
        n_passing += 1
        row = rows[place]
        dot = np.float32(0)
        for d in range(query.shape[0]):
            dot += query[d] * row[d]
        if -dot < values[0] or (-dot == values[0] and rank < kept[0]):
            sift(values, kept, 0, -dot, rank)
    return n_passing


@njit_parallel
def scan_lists(
    X: NDArray[np.float32],
    nearness: NDArray[np.float32],
    order: NDArray[np.int64],
    starts: NDArray[np.int64],
    rows: NDArray[np.float32],
    ranks: NDArray[np.int64],
    passes: NDArray[np.bool_],
    n_probes: int,
    n_wanted: int,
    values: NDArray[np.float32],
    kept: NDArray[np.int64],
) -> None:
    """Scan the nearest lists of each query: `n_probes`, and on until `n_wanted` rows that pass were seen.

    `nearness` (n, n_lists) are negated distances to the centroids and `order` negated numbers of the lists, so that
    the heap of the worst pair has the nearest list on top. `passes` is by rank, or empty if all rows pass.
    `values` and `kept` are the heaps, (n, m). `n_wanted` must not exceed the number of passing rows.
    """
    n_lists = starts.shape[0] - 1
    for i in prange(X.shape[0]):
        near, names = nearness[i], order[i]
        make_heap(near, names)
        n_seen = 0
        for n_probed in range(n_lists):
            if n_probed >= n_probes and n_seen >= n_wanted:
                break
            number = -names[0]
            last = n_lists - n_probed - 1
            if last > 0:
                sift(near[:last], names[:last], 0, near[last], names[last])
            n_seen += scan_list(X[i], starts[number], starts[number + 1], rows, ranks, passes, values[i], kept[i])
