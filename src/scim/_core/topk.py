"""Kernels that keep the k smallest (distance, rank) pairs: heaps, sorting and selection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.numba import njit, njit_parallel, prange

if TYPE_CHECKING:
    from scim._core.types import Floats, Ints

_BISECTIONS = 24  # to the precision of float32


def empty_heaps(n: int, k: int) -> tuple[Floats, Ints]:
    """Return `n` heaps of `k` vacant entries, the worst pair on top: distance `inf`, rank -1."""
    return np.full((n, k), np.inf, dtype=np.float32), np.full((n, k), -1, dtype=np.int64)


@njit
def sift(distances: Floats, ranks: Ints, hole: int, distance: np.float32 | float, rank: int) -> None:
    """Put a pair into the heap at `hole` or below it, where it belongs by distance and then by rank."""
    size = distances.shape[0]
    while 2 * hole + 1 < size:
        child = 2 * hole + 1
        other = child + 1
        if other < size and (
            distances[other] > distances[child]
            or (distances[other] == distances[child] and ranks[other] > ranks[child])
        ):
            child = other
        if distance > distances[child] or (distance == distances[child] and rank >= ranks[child]):
            break
        distances[hole] = distances[child]
        ranks[hole] = ranks[child]
        hole = child
    distances[hole] = distance
    ranks[hole] = rank


@njit
def make_heap(distances: Floats, ranks: Ints) -> None:
    """Order any pairs as a heap."""
    for hole in range(distances.shape[0] // 2 - 1, -1, -1):
        sift(distances, ranks, hole, distances[hole], ranks[hole])


@njit
def sort_heap(distances: Floats, ranks: Ints) -> None:
    """Order a heap as an ascending list."""
    for last in range(distances.shape[0] - 1, 0, -1):
        distance, rank = distances[last], ranks[last]
        distances[last], ranks[last] = distances[0], ranks[0]
        sift(distances[:last], ranks[:last], 0, distance, rank)


@njit_parallel
def sort_rows(distances: Floats, ranks: Ints) -> None:
    """Order the pairs of each row by distance and then by rank, in place."""
    for i in prange(distances.shape[0]):
        make_heap(distances[i], ranks[i])
        sort_heap(distances[i], ranks[i])


@njit_parallel
def keep_nearest(distances: Floats, ranks: Ints, heap_distances: Floats, heap_ranks: Ints) -> None:
    """Offer pairs to the heap of each row: distances (n, m), and ranks (m,) ascending, above those offered before."""
    for i in prange(distances.shape[0]):
        heap, kept = heap_distances[i], heap_ranks[i]
        for j in range(distances.shape[1]):
            if distances[i, j] < heap[0]:  # an equal distance loses, its rank is higher
                sift(heap, kept, 0, distances[i, j], ranks[j])


@njit
def select(values: Floats, ranks: Ints, m: int) -> None:
    """Put the m-th smallest value in its place, none larger before it and none smaller behind, in linear time."""
    left, right, target = 0, values.shape[0] - 1, m - 1
    while left < right:
        a, b, c = values[left], values[(left + right) // 2], values[right]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = left, right
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                ranks[i], ranks[j] = ranks[j], ranks[i]
                i += 1
                j -= 1
        if target <= j:
            right = j
        elif target >= i:
            left = i
        else:
            break


@njit
def tighten(values: Floats, ranks: Ints, m: int) -> tuple[int, np.float32]:
    """Move the `m` smallest values, and few others, to the front; return how many, and a bound that the rest reach.

    The values are negated dots of unit rows. The bound is found by bisection, since counting is what vector units
    are good at; where too many values are nearly equal, by selection.
    """
    low, high = np.float32(-1.01), np.float32(1.01)
    for _ in range(_BISECTIONS):
        bound = np.float32(0.5) * (low + high)
        count = np.int32(0)
        for i in range(values.shape[0]):
            count += np.int32(values[i] <= bound)
        if count < m:
            low = bound
            continue
        high = bound
        if count <= m + m // 4:
            break
    n_kept = 0
    for i in range(values.shape[0]):
        value, rank = values[i], ranks[i]
        values[n_kept], ranks[n_kept] = value, rank
        n_kept += value <= high
    if 2 * n_kept > values.shape[0] + m:
        select(values[:n_kept], ranks[:n_kept], m)
        return m, values[m - 1]
    return n_kept, high


@njit_parallel
def select_rows(m: int, values: Floats, ranks: Ints, counts: Ints) -> None:
    """Move the `m` smallest of the first `counts` pairs of each row to the front; fill up with `inf` and -1."""
    for i in prange(values.shape[0]):
        if counts[i] > m:
            n_kept, _ = tighten(values[i, : counts[i]], ranks[i, : counts[i]], m)
            select(values[i, :n_kept], ranks[i, :n_kept], m)
        else:
            values[i, counts[i] : m] = np.inf
            ranks[i, counts[i] : m] = -1
