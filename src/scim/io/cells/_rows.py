"""Rows of any matrix that an AnnData may hold, as csr: in memory, on disk, or computed block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scim._core import CountsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_CSC_BYTES = 10**9
"""A matrix on disk that is stored by column is loaded whole to read rows of it, up to this size."""


def readable(matrix: Any, source: str) -> Any:
    """Return a matrix of which :func:`csr_rows` reads rows at little cost; `source` names it in errors.

    Raises
    ------
    CountsError
        A Dask array does not know the length of its chunks; a matrix on disk that is stored by column is too large; a
        matrix is on a GPU.
    """
    package = type(matrix).__module__.partition(".")[0]
    if package in ("cupy", "cupyx"):
        msg = f"{source} is on a GPU; move it to memory: adata.{source} = adata.{source}.get()"
        raise CountsError(msg)
    if isinstance(matrix, pd.DataFrame):
        matrix = _frame_values(matrix)
    if _is_dask(matrix):
        return DaskRows(matrix, source)
    if _is_sparse(matrix):
        return matrix if matrix.format == "csr" else matrix.tocsr()
    if getattr(matrix, "format", None) == "csc":
        return _loaded(matrix, source)
    return matrix


def check_numbers(matrix: Any, source: str) -> None:
    """Raise CountsError for values that are no numbers."""
    if np.dtype(matrix.dtype).kind not in "fiub":
        msg = f"{source} is of dtype {matrix.dtype}, expected numbers"
        raise CountsError(msg)


def csr_rows(matrix: Any, start: int, stop: int) -> sparse.csr_matrix:
    """Return rows `start` to `stop` of a readable matrix as csr float32, whose arrays may be views of the data."""
    if not (_is_sparse(matrix) and matrix.format == "csr"):
        return _csr(matrix[start:stop])
    # Slicing a csr matrix copies; slices of its arrays are views.
    indptr = _native(matrix.indptr[start : stop + 1])
    values = slice(indptr[0], indptr[-1])
    data = matrix.data[values].astype(np.float32, copy=False)
    shape = (indptr.size - 1, matrix.shape[1])
    return sparse.csr_matrix((data, _native(matrix.indices[values]), indptr - indptr[0]), shape=shape)


def canonical(X: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return rows in which a column has one value; values that are stored in parts are added up in a copy."""
    if X.has_canonical_format:
        return X
    X = X.copy()
    X.sum_duplicates()
    return X


class DaskRows:
    """A two-dimensional Dask array, of which rows are read by slice; the block read last is kept.

    Reading all rows in order computes each block once.
    """

    def __init__(self, array: Any, source: str) -> None:
        lengths = np.asarray(array.chunks[0], dtype=np.float64)
        if np.isnan(lengths).any() or np.isnan(np.asarray(array.chunks[1], dtype=np.float64)).any():
            msg = f"{source} is a Dask array with chunks of unknown lengths; call its compute_chunk_sizes(), or "
            msg += "adata = adata.to_memory()."
            raise CountsError(msg)
        self.shape: tuple[int, ...] = tuple(int(length) for length in array.shape)
        self.dtype = array.dtype
        self._array, self._source = array, source
        self._starts = np.append(0, np.cumsum(lengths)).astype(np.int64)
        self._kept: tuple[int, sparse.csr_matrix] | None = None

    def __getitem__(self, rows: slice) -> sparse.csr_matrix:
        start, stop, _ = rows.indices(self.shape[0])
        if stop <= start:
            return sparse.csr_matrix(np.empty((0, self.shape[1]), dtype=np.float32))
        first, last = np.searchsorted(self._starts, [start, stop - 1], side="right") - 1
        parts: list[Any] = [
            csr_rows(block, max(start - self._starts[i], 0), min(stop, self._starts[i + 1]) - self._starts[i])
            for i, block in self._blocks(int(first), int(last))
        ]
        joined: sparse.csr_matrix = parts[0] if len(parts) == 1 else sparse.vstack(parts, format="csr")
        return joined

    def _blocks(self, first: int, last: int) -> list[tuple[int, sparse.csr_matrix]]:
        """Return the blocks of rows `first` to `last`, which are computed together."""
        import dask  # noqa: PLC0415  (no dependency: whoever passes a Dask array has it)

        kept = [self._kept] if self._kept is not None and first <= self._kept[0] <= last else []
        missing = [i for i in range(first, last + 1) if not kept or i != kept[0][0]]
        tiles = [[self._array.blocks[i, j] for j in range(self._array.numblocks[1])] for i in missing]
        computed: list[Any] = [
            sparse.hstack([_csr(tile) for tile in row], format="csr") for row in dask.compute(*tiles)
        ]
        blocks: list[tuple[int, Any]] = sorted([*kept, *zip(missing, computed, strict=True)], key=lambda part: part[0])
        self._kept = blocks[-1]
        return blocks


def _is_sparse(matrix: Any) -> bool:
    return bool(sparse.issparse(matrix))


def _is_dask(matrix: Any) -> bool:
    """Return whether a matrix, or what an AnnData makes of it in a view, is a Dask array."""
    return any(base.__module__.partition(".")[0] == "dask" for base in type(matrix).__mro__)


def _csr(part: Any) -> sparse.csr_matrix:
    """Return rows in memory, of any form, as csr float32."""
    if isinstance(part, np.ma.MaskedArray):
        part = _unmasked(part)
    if _is_sparse(part):
        return csr_rows(part.tocsr(), 0, part.shape[0])
    return sparse.csr_matrix(np.asarray(part, dtype=np.float32))


def _unmasked(part: np.ma.MaskedArray[Any, Any]) -> NDArray[Any]:
    """Return a masked array as a plain one: masked zeros are zeros, and other masked values are missing."""
    if np.asarray(part.data)[np.ma.getmaskarray(part)].any():
        msg = "the matrix has masked (missing) values; fill them first: matrix.filled(0)"
        raise CountsError(msg)
    return np.asarray(part.filled(0))


def _native(values: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers in the byte order of this machine."""
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def _frame_values(frame: Any) -> Any:
    if all(isinstance(dtype, pd.SparseDtype) for dtype in frame.dtypes):
        return frame.sparse.to_coo()
    return frame.to_numpy()


def _loaded(matrix: Any, source: str) -> sparse.csr_matrix:
    """Load a matrix that is stored by column on disk."""
    group = matrix.group
    n_bytes = sum(int(np.prod(group[part].shape)) * group[part].dtype.itemsize for part in ("data", "indices"))
    if n_bytes > MAX_CSC_BYTES:
        msg = (
            f"{source} is stored by column (csc, {n_bytes / 1e9:.1f} GB), from which cells cannot be read. Convert it "
        )
        msg += "once, adata.X = adata.X.tocsr(), and write the file again, or name another matrix"
        raise CountsError(msg)
    loaded: sparse.csr_matrix = matrix.to_memory().tocsr()
    return loaded
