"""Walk along a graph: the nearest candidate that was not expanded yet is expanded next, until there is none.

A candidate is one integer, its key: the distance, the rank of its row, and in the last bit whether it was expanded. So
candidates are in the order of their distances and then of their ranks, and to insert one moves a single array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.numba import njit, njit_parallel, prange

if TYPE_CHECKING:
    from scim._core.types import Floats, Ints, Ints32

EMPTY = np.iinfo(np.int64).max  # the key of no candidate
_DISTANCE = 32  # bit from which on a key holds the distance
_SCALE = np.float32(1 << 29)  # of a distance: 2 - dot, at most 3, takes 31 bits
_RANK = (1 << 31) - 1


@njit
def key_of(dot: np.float32, rank: int) -> np.int64:
    """Return the key of a candidate that was not expanded yet."""
    return (np.int64((np.float32(2) - dot) * _SCALE) << _DISTANCE) | (np.int64(rank) << 1)


@njit
def insert(keys: Ints, key: np.int64) -> int:
    """Insert a key into a full ascending list, dropping the last; return its position, or the length if too far."""
    size = keys.shape[0]
    if key >= keys[size - 1]:
        return int(size)
    low, high = 0, size - 1
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    for at in range(size - 1, low, -1):
        keys[at] = keys[at - 1]
    keys[low] = key
    return low


@njit
def visit(query: Floats, rows: Floats, targets: Ints32, seen: Ints32, stamp: int, keys: Ints) -> tuple[int, int]:
    """Insert the rows not seen before; return the first position that was written, and how many rows were measured."""
    first, n_measured = keys.shape[0], 0
    for target in targets:
        if seen[target] == stamp:
            continue
        seen[target] = stamp
        n_measured += 1
        row = rows[target]
        dot = np.float32(0)
        for d in range(query.shape[0]):
            dot += query[d] * row[d]
        first = min(first, insert(keys, key_of(dot, target)))
    return first, n_measured


@njit_parallel
def walk(
    X: Floats,
    rows: Floats,
    starts: Ints,
    targets: Ints32,
    entries: Ints32,
    held_out: Ints,
    seen: Ints32,
    stamp: int,
    keys: Ints,
    measured: Ints,
) -> None:
    """Fill the keys of the candidates of each query, (n, ef_search), all `EMPTY` before, and count measured rows, (n,).

    Walks start from the rows `entries`, (n, n_entries). `held_out`, (n,) or empty, is a row for each query that is
    never visited, as if it were not in the graph. `seen`, (n_tasks, n_rows), is working memory without `stamp` and the
    n - 1 numbers after it.
    """
    n_tasks = seen.shape[0]
    for task in prange(n_tasks):
        for i in range(task, X.shape[0], n_tasks):
            candidates, mark = keys[i], stamp + i
            if held_out.shape[0] > 0:
                seen[task, held_out[i]] = mark
            _, measured[i] = visit(X[i], rows, entries[i], seen[task], mark, candidates)
            at = 0
            while at < candidates.shape[0] and candidates[at] != EMPTY:
                if candidates[at] & 1:
                    at += 1
                    continue
                node = (candidates[at] >> 1) & _RANK
                candidates[at] |= 1
                linked = targets[starts[node] : starts[node + 1]]
                first, n = visit(X[i], rows, linked, seen[task], mark, candidates)
                at = min(at, first)
                measured[i] += n


def ranks_of(keys: Ints) -> Ints:
    """Return the ranks of candidates, -1 for none."""
    return np.where(keys == EMPTY, -1, (keys >> 1) & _RANK)
