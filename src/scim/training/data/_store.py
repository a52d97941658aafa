"""The counts of the training cells over the model's genes: in memory, or beyond a limit in a file of its own."""

from __future__ import annotations

import mmap
import tempfile
import weakref
import zlib
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy import sparse

from scim._core.log import logger
from scim._core.numba import njit

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

_LET_GO = 64
"""Batches after which the pages of the file that were read are given back: they would count as memory."""


class CellStore:
    """Rows of a csr matrix that are read by number, in any order, as often as training likes.

    Written once, block by block. Up to `max_memory` bytes stay in memory; more goes to a file in `scratch` that is
    mapped, of which about 200 MB are in memory at a time, and which the system removes with the process.

    Parameters
    ----------
    n_genes
        Width.
    max_memory
        In bytes.
    scratch
        An existing folder; default: the system's for temporary files.
    """

    def __init__(self, n_genes: int, *, max_memory: int, scratch: str | os.PathLike[str] | None = None) -> None:
        self.n_genes = n_genes
        self._max_memory, self._scratch = max_memory, scratch
        self._lengths: list[NDArray[np.int64]] = []
        self._parts: list[tuple[NDArray[Any], NDArray[np.float32]]] = []
        self._files: list[Any] | None = None
        self._index_type = np.uint16 if n_genes <= 2**16 else np.int32
        self._maps: list[mmap.mmap] = []
        self._n_read = 0
        self._checksums = [0, 0]

    @property
    def checksums(self) -> tuple[int, ...]:
        """Of all genes and all values that were written: others than these are other data."""
        return tuple(self._checksums)

    @property
    def on_disk(self) -> bool:
        """Whether it is in a file."""
        return self._files is not None

    @property
    def n_bytes(self) -> int:
        """Size of genes and values."""
        return int(sum(lengths.sum() for lengths in self._lengths)) * (np.dtype(self._index_type).itemsize + 4)

    def write(self, X: sparse.csr_matrix) -> None:
        """Add rows (n, n_genes) behind the others.

        Raises
        ------
        OSError
            There is no room for them on the disk.
        """
        part = X.indices.astype(self._index_type), X.data.astype(np.float32, copy=False)
        self._lengths.append(np.diff(X.indptr).astype(np.int64))
        self._parts.append(part)
        self._checksums = [zlib.crc32(array.data, before) for array, before in zip(part, self._checksums, strict=True)]
        if self._files is None and self.n_bytes > self._max_memory:
            self._spill()
        if self._files is not None:
            for arrays in self._parts:
                for file, array in zip(self._files, arrays, strict=True):
                    self._append(file, array)
            self._parts.clear()

    def finish(self) -> Self:
        """Make the rows readable; call it once, after the last block."""
        lengths = np.concatenate([np.empty(0, np.int64), *self._lengths])
        self.indptr = np.concatenate([[0], np.cumsum(lengths)])
        if self._files is None:
            self._join()
        else:
            self.indices, self.data = (
                self._mapped(file, dtype)
                for file, dtype in zip(self._files, (self._index_type, np.float32), strict=True)
            )
            logger.info("training cells: %.1f GB in %s", self.n_bytes / 1e9, self._scratch or tempfile.gettempdir())
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and genes."""
        return self.indptr.size - 1, self.n_genes

    def __getitem__(self, rows: NDArray[np.int64]) -> sparse.csr_matrix:
        """Return rows by number, as a copy (n, n_genes)."""
        lengths = self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        indices, data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
        _gather(self.indptr, self.indices, self.data, rows, indptr, indices, data)
        self._n_read += 1
        if self._maps and self._n_read % _LET_GO == 0 and hasattr(mmap, "MADV_DONTNEED"):
            for part in self._maps:
                part.madvise(mmap.MADV_DONTNEED)
        return sparse.csr_matrix((data, indices, indptr), shape=(rows.size, self.n_genes))

    def _join(self) -> None:
        # Part by part, each of which goes when it is copied: all at once would need twice the memory.
        self.indices = np.empty(self.indptr[-1], self._index_type)
        self.data = np.empty(self.indptr[-1], np.float32)
        at = 0
        self._parts.reverse()
        while self._parts:
            indices, data = self._parts.pop()
            here = slice(at, at := at + data.size)
            self.indices[here], self.data[here] = indices, data
            del indices, data

    def _spill(self) -> None:
        # Files without a name: whatever happens to the process, nothing stays behind.
        self._files = []
        for _ in range(2):
            file = tempfile.TemporaryFile(dir=self._scratch, buffering=0)  # noqa: SIM115  (lives as long as we)
            weakref.finalize(self, file.close)
            self._files.append(file)

    def _append(self, file: Any, array: NDArray[Any]) -> None:
        # Not `tofile`: what its buffer still holds when the disk is full is lost without a word.
        left = array.view(np.uint8)
        while left.size:
            try:
                left = left[file.write(left) :]
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self._scratch or tempfile.gettempdir())) from error

    def _mapped(self, file: Any, dtype: Any) -> NDArray[Any]:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(mmap, "MADV_RANDOM"):
            mapped.madvise(mmap.MADV_RANDOM)
        self._maps.append(mapped)
        return np.frombuffer(mapped, dtype=dtype)


@njit
def _gather(indptr: Any, indices: Any, data: Any, rows: Any, to: Any, to_indices: Any, to_data: Any) -> None:
    for i in range(rows.shape[0]):
        start = indptr[rows[i]]
        for q in range(to[i + 1] - to[i]):
            to_indices[to[i] + q] = indices[start + q]
            to_data[to[i] + q] = data[start + q]
