"""Rows of an inverted file: 16-bit residuals from the centroid of their list, of which the upper four bits are scanned.

A row is `centroid + scale * (value - 32,768)`, its values whole numbers of 1 ... 65,535, which is exact to a 65,534th
of the largest entry of the residual. The upper half bytes, packed by themselves, suffice for candidates: a cosine is
off by about a hundredth of the length of the residual. The values are read for candidates only and may stay on disk.
Centroids are coded from their parents in the same way, but a whole upper byte is scanned. Each list has a checksum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scim._core.dot import BLOCK
from scim._core.numba import njit, njit_parallel, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.types import Bools, Floats, Ints, Ints32

    Values = NDArray[np.uint16]
    Words = NDArray[np.uint32]
    Sums = NDArray[np.uint64]

MOST_DIM = 1 << 16  # dots of bytes are whole numbers of 32 bits
MIDDLE = 32_768
_LARGEST = 32_767
_TINY = np.float32(1e-30)  # residuals below are none: their scale could not be divided by
LARGEST_SCALE = np.float32(2.001 / _LARGEST)  # entries of the difference of two unit rows are at most 2
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Coarse(NamedTuple):
    """The centroids, in groups around parents, and their codes."""

    parents: Floats  # (n_groups, dim)
    groups: Ints  # (n_groups + 1,): number of the first list of each group
    centroids: Floats  # (n_lists, dim)
    codes: NDArray[np.uint8]  # (n_lists, width): upper bytes of the residual from the parent
    scales: Floats  # (n_lists,)
    radii: Floats  # (n_lists,): angle of the mean cosine between a centroid and the rows of its list, in radians


class Rows(NamedTuple):
    """The rows, list by list, ascending in rank within a list."""

    starts: Ints  # (n_lists + 1,): offset of the first row of each list
    codes: NDArray[np.uint8]  # (n_rows, width): upper half bytes of the values
    scales: Floats  # (n_rows,): step of the values; 0 for a row that is its centroid
    ranks: Ints32  # (n_rows,): rank of the row at each offset
    values: Values  # (n_rows, dim): the residuals, read for candidates only
    sums: Sums  # (n_lists,): checksum of the rows of each list, in all of these arrays


class Checks(NamedTuple):
    """The words that checksums are computed of, and which lists were compared."""

    codes: Words  # (n_rows, width / 4): `Rows.codes` as words
    scales: Words  # (n_rows,): `Rows.scales` as words
    done: Bools  # (n_lists,): lists whose checksum was compared


def padded(dim: int) -> int:
    """Return `dim` rounded up to two blocks of half bytes: the length of a coded query."""
    return -(-dim // (2 * BLOCK)) * 2 * BLOCK


@njit_parallel
def encode(rows: Floats, centroids: Floats, labels: Ints32, offsets: Ints32, values: Values, scales: Floats) -> None:
    """Write the values and the scale of each row to its offset."""
    for i in prange(rows.shape[0]):
        row, centroid, offset = rows[i], centroids[labels[i]], offsets[i]
        largest = np.float32(0)
        for d in range(row.shape[0]):
            largest = max(largest, abs(row[d] - centroid[d]))
        if largest < _TINY:
            largest = np.float32(0)
        scale = largest / np.float32(_LARGEST)
        factor = np.float32(1) / scale if scale > 0 else np.float32(0)
        scales[offset] = scale
        for d in range(row.shape[0]):
            value = np.int32(np.rint((row[d] - centroid[d]) * factor)) + MIDDLE
            values[offset, d] = min(max(value, 1), 2 * MIDDLE - 1)  # type: ignore[assignment]  # a number


@njit_parallel
def pack_nibbles(values: Values, offsets: Ints32, codes: NDArray[np.uint8]) -> None:
    """Write the upper four bits of the values at `offsets`, two to a byte; codes are zero before."""
    for i in prange(offsets.shape[0]):
        row, code = values[offsets[i]], codes[offsets[i]]
        for start in range(0, row.shape[0], 2 * BLOCK):
            for d in range(min(BLOCK, row.shape[0] - start)):
                code[start // 2 + d] = row[start + d] >> 12
            for d in range(min(BLOCK, row.shape[0] - start - BLOCK)):
                code[start // 2 + d] |= (row[start + BLOCK + d] >> 12) << 4


@njit_parallel
def decode(offsets: Ints, labels: Ints32, centroids: Floats, values: Values, scales: Floats, out: Floats) -> None:
    """Write the rows at `offsets`, of the lists `labels`."""
    for i in prange(offsets.shape[0]):
        offset, centroid = offsets[i], centroids[labels[i]]
        for d in range(out.shape[1]):
            out[i, d] = centroid[d] + scales[offset] * np.float32(np.int32(values[offset, d]) - MIDDLE)


@njit
def quantize(query: Floats, out: NDArray[np.int8]) -> tuple[np.float32, np.float32]:
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

    The lower bits, which are not read, count as their mean.
    """
    unit = np.float32(1 << (16 - bits))
    return unit * step, (np.float32(MIDDLE) - np.float32(0.5) * (unit - np.float32(1))) * total


@njit
def scatter(mask: NDArray[Any], ranks: NDArray[Any], passes: NDArray[Any]) -> None:
    """Set for each rank, all false before, whether the row at its offset passes; ranks are positions in `passes`."""
    # Without a branch: half of a million rows take 0.8 ms, and 3.4 ms with one that cannot be predicted.
    for offset in range(mask.shape[0]):
        passes[ranks[offset]] |= mask[offset]


@njit
def add_words(words: NDArray[Any], total: np.uint64) -> np.uint64:
    """Return the total and the sum of words, each times an odd number of its position: any change of one changes it."""
    for i in range(words.shape[0]):
        total += np.uint64(words[i]) * ((np.uint64(2) * np.uint64(i) + np.uint64(1)) * _ODD)
    return total


@njit
def list_sum(start: int, stop: int, codes: Words, scales: Words, ranks: Ints32, values: Values) -> np.uint64:
    """Return the checksum of the rows at `start` ... `stop`."""
    total = add_words(codes[start:stop].ravel(), np.uint64(0))
    total = add_words(scales[start:stop], total * _ODD)
    total = add_words(ranks[start:stop].view(np.uint32), total * _ODD)
    return add_words(values[start:stop].ravel(), total * _ODD)


@njit
def is_sound(number: int, rows: Rows, checks: Checks) -> bool:
    """Return whether the rows of a list have their checksum, ranks that exist, ascending, and steps of unit rows.

    What follows takes this for granted: ranks become positions, and dots of other steps would be no cosines.
    """
    start, stop = rows.starts[number], rows.starts[number + 1]
    before, sound = np.int32(-1), True
    for offset in range(start, stop):
        rank, scale = rows.ranks[offset], rows.scales[offset]
        sound &= (before < rank) & (rank < rows.ranks.shape[0]) & (scale >= 0) & (scale <= LARGEST_SCALE)
        before = rank
    total = list_sum(start, stop, checks.codes, checks.scales, rows.ranks, rows.values)
    return sound and bool(total == rows.sums[number])


@njit_parallel
def are_sound(numbers: Ints, rows: Rows, checks: Checks, sound: Bools) -> None:
    """Write which lists :func:`is_sound`."""
    for i in prange(numbers.shape[0]):
        sound[i] = is_sound(numbers[i], rows, checks)


@njit_parallel
def list_sums(numbers: Ints, rows: Rows, checks: Checks, sums: Sums) -> None:
    """Write the checksums of lists."""
    for i in prange(numbers.shape[0]):
        start, stop = rows.starts[numbers[i]], rows.starts[numbers[i] + 1]
        sums[i] = list_sum(start, stop, checks.codes, checks.scales, rows.ranks, rows.values)


def sums_of(numbers: Ints, rows: Rows, checks: Checks) -> Sums:
    """Return the checksums of lists, as their rows are now."""
    sums = np.empty(len(numbers), dtype=np.uint64)
    list_sums(numbers, rows, checks, sums)
    return sums
