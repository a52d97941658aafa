"""Rows as 16-bit residuals from their centroid, of which the upper four bits are scanned.

A row is `centroid + scale * (value - 32,768)`, its values whole numbers of 1 ... 65,535, which is exact to a 65,534th
of the largest entry of the residual. The upper half bytes of the values, packed by themselves, are an eighth of float32
and enough for a shortlist: with the middle of what a half byte stands for, a cosine is off by about a hundredth of the
length of the residual. The values themselves are read for the shortlist only and may stay on disk.

Centroids are coded from their parents in the same way, but a whole upper byte of them is scanned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.dot import BLOCK
from scim._core.numba import njit, njit_parallel, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIDDLE = 32_768
_LARGEST = 32_767
_TINY = np.float32(1e-30)
"""Residuals below are none: their scale could not be divided by."""


def padded(dim: int) -> int:
    """Return `dim` rounded up to two blocks of half bytes: the length of a coded query."""
    return -(-dim // (2 * BLOCK)) * 2 * BLOCK


@njit_parallel
def encode(
    rows: NDArray[np.float32],
    centroids: NDArray[np.float32],
    labels: NDArray[np.int32],
    places: NDArray[np.int32],
    values: NDArray[np.uint16],
    scales: NDArray[np.float32],
) -> None:
    """Write the values and the scale of each row to its place."""
    for i in prange(rows.shape[0]):
        row, centroid, place = rows[i], centroids[labels[i]], places[i]
        largest = np.float32(0)
        for d in range(row.shape[0]):
            largest = max(largest, abs(row[d] - centroid[d]))
        if largest < _TINY:
            largest = np.float32(0)
        scale = largest / np.float32(_LARGEST)
        factor = np.float32(1) / scale if scale > 0 else np.float32(0)
        scales[place] = scale
        for d in range(row.shape[0]):
            value = np.int32(np.rint((row[d] - centroid[d]) * factor)) + MIDDLE
            values[place, d] = min(max(value, 1), 2 * MIDDLE - 1)  # type: ignore[assignment]  # a number


@njit_parallel
def pack_nibbles(values: NDArray[np.uint16], places: NDArray[np.int32], codes: NDArray[np.uint8]) -> None:
    """Write the upper four bits of the values at `places`, two to a byte; codes are zero before."""
    for i in prange(places.shape[0]):
        row, code = values[places[i]], codes[places[i]]
        for start in range(0, row.shape[0], 2 * BLOCK):
            for d in range(min(BLOCK, row.shape[0] - start)):
                code[start // 2 + d] = row[start + d] >> 12
            for d in range(min(BLOCK, row.shape[0] - start - BLOCK)):
                code[start // 2 + d] |= (row[start + BLOCK + d] >> 12) << 4


@njit_parallel
def decode(
    places: NDArray[np.int64],
    labels: NDArray[np.int32],
    centroids: NDArray[np.float32],
    values: NDArray[np.uint16],
    scales: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write the rows at `places`, whose lists are `labels`."""
    for i in prange(places.shape[0]):
        place, centroid = places[i], centroids[labels[i]]
        for d in range(out.shape[1]):
            out[i, d] = centroid[d] + scales[place] * np.float32(np.int32(values[place, d]) - MIDDLE)


@njit
def quantize(query: NDArray[np.float32], out: NDArray[np.int8]) -> tuple[np.float32, np.float32]:
    """Write the query as bytes of -127 ... 127, zeros behind; return the step, and the sum of all in steps."""
    largest = np.float32(0)
    for d in range(query.shape[0]):
        largest = max(largest, abs(query[d]))
    step = largest / np.float32(127)
    factor = np.float32(1) / step if step > 0 else np.float32(0)
    out[:] = 0
    total = np.int32(0)
    for d in range(query.shape[0]):
        out[d] = np.int8(np.rint(query[d] * factor))
        total += np.int32(out[d])
    return step, step * np.float32(total)


@njit
def terms(bits: int, step: np.float32, total: np.float32) -> tuple[np.float32, np.float32]:
    """Return (factor, offset): a query's dot with values is `factor * dot(upper bits, coded query) - offset`.

    The lower bits, which are not looked at, count as their mean.
    """
    unit = np.float32(1 << (16 - bits))
    return unit * step, (np.float32(MIDDLE) - np.float32(0.5) * (unit - np.float32(1))) * total
