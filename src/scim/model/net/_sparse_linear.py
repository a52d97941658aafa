"""The first layer on csr rows, rows @ weight, without a dense copy of the rows.

Fetching a weight row costs more than multiplying it. So the work is cut into pieces whose weights stay in the
second-level cache: `_TILE` output units of `_SEGMENT` genes, applied to `_BLOCK` cells before the next segment is
fetched. Four genes are added to a cell at a time, so that its sums are read and written once for four weight rows.
benchmarks/NOTES.md has the measurements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.numba import njit, njit_parallel, prange, threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TILE = 256
_SEGMENT = 1000
_BLOCK = 1024
_UNROLL = 4  # written out in `_add_rows`
_ALIGNMENT = 64  # bytes; a vector across two cache lines is loaded at half the speed


class SparseLinear:
    """A linear layer for many blocks of csr rows; `weight` has shape (n_genes, width), `bias` (width,)."""

    def __init__(self, weight: NDArray[np.floating[Any]], bias: NDArray[np.floating[Any]]) -> None:
        self.n_genes, self.width = weight.shape
        n_tiles = max(1, -(-self.width // _TILE))
        self._tiles = _aligned((n_tiles, self.n_genes, _TILE))
        self._tiles[:] = 0
        for tile in range(n_tiles):
            part = weight[:, tile * _TILE : (tile + 1) * _TILE]
            self._tiles[tile, :, : part.shape[1]] = part
        self.bias = np.ascontiguousarray(bias, dtype=np.float32)
        self._bias_tiles = np.pad(self.bias, (0, n_tiles * _TILE - self.width)).reshape(n_tiles, _TILE)

    def __call__(
        self,
        indptr: NDArray[np.integer[Any]],
        indices: NDArray[np.integer[Any]],
        data: NDArray[np.float32],
        *,
        scale: NDArray[np.float32] | None = None,
        n_threads: int | None = None,
    ) -> NDArray[np.float32]:
        """Multiply rows with the weights, and add the bias.

        A row is summed in the order of its values by one thread, so that its sums are the same to the last bit whatever
        the other rows and the number of threads. Indices may be in any order, and `indptr` may start past 0. `scale`,
        (n,), is a factor for each row of the product, not of the bias. The result is (n, width).
        """
        n = indptr.size - 1
        n_tiles = self._tiles.shape[0]
        scale = np.ones(n, dtype=np.float32) if scale is None else scale
        n_segments = max(1, -(-self.n_genes // _SEGMENT))
        n_values = int(indptr[-1] - indptr[0]) + n * n_segments * (_UNROLL - 1)  # at most, with the zeros of `_group`
        starts = np.empty((n, n_segments + 1), dtype=np.int64)
        genes, values = np.empty(n_values, dtype=np.int32), np.empty(n_values, dtype=np.float32)
        sums = _aligned((n, n_tiles, _TILE))
        with threads(n_threads):
            _group(indptr, indices, data, scale, starts, genes, values)
            _multiply(starts, genes, values, self._tiles, self._bias_tiles, sums)
        return sums.reshape(n, n_tiles * _TILE)[:, : self.width]


def _aligned(shape: tuple[int, ...]) -> NDArray[np.float32]:
    size = 4 * int(np.prod(shape))
    memory = np.empty(size + _ALIGNMENT, dtype=np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(np.float32).reshape(shape)


@njit_parallel
def _group(indptr: Any, indices: Any, data: Any, scale: Any, starts: Any, genes: Any, values: Any) -> None:
    """Order the values of each row by segment, and fill every segment up to a multiple of four with zeros."""
    n_segments = starts.shape[1] - 1
    for i in prange(starts.shape[0]):
        fill = np.zeros(n_segments, np.int64)
        for q in range(indptr[i], indptr[i + 1]):
            fill[indices[q] // _SEGMENT] += 1
        start = np.int64(indptr[i]) - np.int64(indptr[0]) + i * n_segments * (_UNROLL - 1)
        for s in range(n_segments):
            starts[i, s] = start
            stop = start + (fill[s] + _UNROLL - 1) // _UNROLL * _UNROLL
            for q in range(start + fill[s], stop):
                genes[q] = s * _SEGMENT
                values[q] = 0
            fill[s] = start
            start = stop
        starts[i, n_segments] = start
        for q in range(indptr[i], indptr[i + 1]):
            s = indices[q] // _SEGMENT
            genes[fill[s]] = indices[q]
            values[fill[s]] = data[q] * scale[i]
            fill[s] += 1


@njit_parallel
def _multiply(starts: Any, genes: Any, values: Any, tiles: Any, bias: Any, sums: Any) -> None:
    n = sums.shape[0]
    n_blocks = (n + _BLOCK - 1) // _BLOCK
    for item in prange(n_blocks * tiles.shape[0]):
        # All blocks of a tile come before the next tile, so that threads share its weights in the last-level cache.
        tile = item // n_blocks
        first = item % n_blocks * _BLOCK
        last = min(n, first + _BLOCK)
        for i in range(first, last):
            sums[i, tile] = bias[tile]
        for s in range(starts.shape[1] - 1):
            for i in range(first, last):
                _add_rows(sums[i, tile], tiles[tile], genes, values, starts[i, s], starts[i, s + 1])


@njit
def _add_rows(total: Any, weight: Any, genes: Any, values: Any, start: Any, stop: Any) -> None:
    for q in range(start, stop, _UNROLL):
        a, b, c, d = weight[genes[q]], weight[genes[q + 1]], weight[genes[q + 2]], weight[genes[q + 3]]
        x, y, z, u = values[q], values[q + 1], values[q + 2], values[q + 3]
        for j in range(_TILE):
            total[j] += x * a[j] + y * b[j] + z * c[j] + u * d[j]
