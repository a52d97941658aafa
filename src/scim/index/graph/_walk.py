"""Best-first walk over a graph of neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.numba import njit, njit_parallel, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit
def insert(
    values: NDArray[np.float32],
    ranks: NDArray[np.int64],
    done: NDArray[np.bool_],
    value: np.float32 | float,
    rank: int,
) -> int:
    """Put a pair into a full ascending list, dropping the last, and return its place; its length if it is too far."""
    size = values.shape[0]
    if value > values[size - 1] or (value == values[size - 1] and 0 <= ranks[size - 1] < rank):
        return int(size)
    place = size - 1
    while place > 0 and (value < values[place - 1] or (value == values[place - 1] and rank < ranks[place - 1])):
        values[place], ranks[place], done[place] = values[place - 1], ranks[place - 1], done[place - 1]
        place -= 1
    values[place], ranks[place], done[place] = value, rank, False
    return int(place)


@njit
def visit(
    query: NDArray[np.float32],
    rows: NDArray[np.float32],
    targets: NDArray[np.int32],
    seen: NDArray[np.int32],
    stamp: int,
    values: NDArray[np.float32],
    ranks: NDArray[np.int64],
    done: NDArray[np.bool_],
) -> int:
    """Insert the rows not seen before and return the nearest place that was taken."""
    first = values.shape[0]
    for target in targets:
        if seen[target] == stamp:
            continue
        seen[target] = stamp
        row = rows[target]
        dot = np.float32(0)
        for d in range(query.shape[0]):
            dot += query[d] * row[d]
        first = min(first, insert(values, ranks, done, -dot, target))
    return int(first)


@njit_parallel
def walk(
    X: NDArray[np.float32],
    rows: NDArray[np.float32],
    starts: NDArray[np.int64],
    targets: NDArray[np.int32],
    entries: NDArray[np.int32],
    seen: NDArray[np.int32],
    done: NDArray[np.bool_],
    values: NDArray[np.float32],
    ranks: NDArray[np.int64],
) -> None:
    """Fill the list of each query, (n, effort), starting from its entries (n, n_entries).

    The nearest row of the list whose neighbours were not visited yet is taken next, until there is none.
    `seen` (n_tasks, n_rows), zero at the start, and `done` (n_tasks, effort) are room to work in, one row a task.
    """
    n_tasks = seen.shape[0]
    for task in prange(n_tasks):
        mine = done[task]
        for i in range(task, X.shape[0], n_tasks):
            mine[:] = True
            visit(X[i], rows, entries[i], seen[task], i + 1, values[i], ranks[i], mine)
            place = 0
            while place < mine.shape[0]:
                if mine[place]:
                    place += 1
                    continue
                mine[place] = True
                node = ranks[i, place]
                some = targets[starts[node] : starts[node + 1]]
                place = min(place, visit(X[i], rows, some, seen[task], i + 1, values[i], ranks[i], mine))
