"""Selection: the smallest of many, in no order, in linear time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.numba import njit, njit_parallel, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BISECTIONS = 24  # to the precision of float32


@njit
def select(values: NDArray[np.float32], ranks: NDArray[np.int64], m: int) -> None:
    """Put the m-th smallest value in its place, none larger before it and none smaller behind."""
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
def tighten(values: NDArray[np.float32], ranks: NDArray[np.int64], m: int) -> tuple[int, np.float32]:
    """Move the `m` smallest values, and few others, to the front; return how many, and a bar that the rest reach.

    The values are negated dots of unit rows. The bar is found by bisection, since counting is what vector units
    are good at; where too many values are nearly equal, by selection.
    """
    low, high = np.float32(-1.01), np.float32(1.01)
    for _ in range(_BISECTIONS):
        bar = np.float32(0.5) * (low + high)
        count = np.int32(0)
        for i in range(values.shape[0]):
            count += np.int32(values[i] <= bar)
        if count < m:
            low = bar
            continue
        high = bar
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
def select_rows(m: int, values: NDArray[np.float32], ranks: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    """Select the `m` smallest among the first `counts` pairs of each row."""
    for i in prange(values.shape[0]):
        if counts[i] > m:
            n_kept, _ = tighten(values[i, : counts[i]], ranks[i, : counts[i]], m)
            select(values[i, :n_kept], ranks[i, :n_kept], m)
