"""Checksums of lists, so that what a search reads of a file is checked when it is first read, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.numba import njit, njit_parallel, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.index.ivf._lists import Checks, Rows

_ODD = np.uint64(0x9E3779B97F4A7C15)


@njit
def add_words(words: NDArray[np.uint32], total: np.uint64) -> np.uint64:
    """Return the sum of words, each times an odd number of its own: any change of one word changes it."""
    for i in range(words.shape[0]):
        total += np.uint64(words[i]) * ((np.uint64(2) * np.uint64(i) + np.uint64(1)) * _ODD)
    return total


@njit
def list_sum(
    start: int,
    stop: int,
    codes: NDArray[np.uint32],
    scales: NDArray[np.uint32],
    ranks: NDArray[np.int32],
    values: NDArray[np.uint16],
) -> np.uint64:
    """Return the checksum of the rows at `start` ... `stop`."""
    total = np.uint64(0)
    for part in (codes[start:stop].ravel(), scales[start:stop]):
        total = add_words(part, total * _ODD)
    total *= _ODD
    for i in range(start, stop):
        total += np.uint64(np.uint32(ranks[i])) * ((np.uint64(2) * np.uint64(i - start) + np.uint64(1)) * _ODD)
    total *= _ODD
    flat = values[start:stop].ravel()
    for i in range(flat.shape[0]):
        total += np.uint64(flat[i]) * ((np.uint64(2) * np.uint64(i) + np.uint64(1)) * _ODD)
    return total


@njit_parallel
def some_sums(numbers: NDArray[np.int64], rows: Rows, checks: Checks, sums: NDArray[np.uint64]) -> None:
    """Write the checksums of lists."""
    for i in prange(numbers.shape[0]):
        start, stop = rows.starts[numbers[i]], rows.starts[numbers[i] + 1]
        sums[i] = list_sum(start, stop, checks.codes, checks.scales, rows.ranks, rows.values)


def sums_of(numbers: NDArray[np.int64], rows: Rows, checks: Checks) -> NDArray[np.uint64]:
    """Return the checksums of lists, as their rows are now."""
    sums = np.empty(len(numbers), dtype=np.uint64)
    some_sums(numbers, rows, checks, sums)
    return sums
