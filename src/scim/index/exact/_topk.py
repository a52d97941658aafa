"""Heaps of (distance, rank) pairs with the worst on top, ordered by distance and then by rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.numba import njit, njit_parallel, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray


def empty_heaps(n: int, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return `n` heaps of `k` places, all vacant: distance `inf`, rank -1."""
    return np.full((n, k), np.inf, dtype=np.float32), np.full((n, k), -1, dtype=np.int64)


@njit
def sift(
    distances: NDArray[np.float32], ranks: NDArray[np.int64], hole: int, distance: np.float32 | float, rank: int
) -> None:
    """Put a pair into the heap at `hole` or below it, where it belongs."""
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
def make_heap(distances: NDArray[np.float32], ranks: NDArray[np.int64]) -> None:
    """Order any pairs as a heap."""
    for hole in range(distances.shape[0] // 2 - 1, -1, -1):
        sift(distances, ranks, hole, distances[hole], ranks[hole])


@njit
def sort_heap(distances: NDArray[np.float32], ranks: NDArray[np.int64]) -> None:
    """Order a heap as an ascending list."""
    for last in range(distances.shape[0] - 1, 0, -1):
        distance, rank = distances[last], ranks[last]
        distances[last], ranks[last] = distances[0], ranks[0]
        sift(distances[:last], ranks[:last], 0, distance, rank)


@njit_parallel
def sort_rows(distances: NDArray[np.float32], ranks: NDArray[np.int64]) -> None:
    """Order the pairs of each row by distance and then by rank, in place."""
    for i in prange(distances.shape[0]):
        make_heap(distances[i], ranks[i])
        sort_heap(distances[i], ranks[i])


@njit_parallel
def keep_nearest(
    distances: NDArray[np.float32],
    ranks: NDArray[np.int64],
    heap_distances: NDArray[np.float32],
    heap_ranks: NDArray[np.int64],
) -> None:
    """Offer pairs to the heap of each row: distances (n, m), and ranks (m,) ascending, above those offered before."""
    for i in prange(distances.shape[0]):
        heap, names = heap_distances[i], heap_ranks[i]
        for j in range(distances.shape[1]):
            if distances[i, j] < heap[0]:  # an equal distance loses, its rank is higher
                sift(heap, names, 0, distances[i, j], ranks[j])
