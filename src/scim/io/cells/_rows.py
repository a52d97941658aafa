"""Rows of any matrix that an AnnData may hold, as csr: in memory, on disk, or computed block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scim._core import CountsError
from scim.io.cells._disk import on_disk
from scim.io.cells._sparse import check_lengths, check_range, check_shape, check_sparse, check_starts, refuse

if TYPE_CHECKING:
    from numpy.typing import NDArray


def readable(matrix: Any, source: str, shape: tuple[int, int] | None = None) -> Any:
    """Return a matrix of which :func:`csr_rows` reads rows at little cost; `source` names it in errors.

    Raises
    ------
    CountsError
        It has not the `shape` (cells, columns) that obs and var have. A Dask array does not know the length of its
        chunks; a matrix on disk that is stored by column is too large; a matrix is on a GPU.
    FormatError
        The index arrays of a sparse matrix are inconsistent.
    """
    package = type(matrix).__module__.partition(".")[0]
    if package in ("cupy", "cupyx"):
        msg = f"{source} is on a GPU; move it to memory: adata.{source} = adata.{source}.get()"
        raise CountsError(msg)
    if _is_dask(matrix):
        matrix = DaskRows(matrix, source)
    if shape is not None:
        check_shape(matrix, shape, source)
    if isinstance(matrix, pd.DataFrame):
        matrix = _frame_values(matrix)
    if _is_sparse(matrix):
        return _as_csr(matrix, source)
    return on_disk(matrix, source)


def check_numbers(matrix: Any, source: str) -> None:
    """Raise CountsError for values that are no numbers."""
    if np.dtype(matrix.dtype).kind not in "fiub":
        msg = f"{source} is of dtype {matrix.dtype}, expected numbers"
        raise CountsError(msg)


def csr_rows(matrix: Any, start: int, stop: int, source: str = "The matrix") -> sparse.csr_matrix:
    """Return rows `start` to `stop` of a readable matrix as csr float32, whose arrays may be views of the data.

    Every matrix on its way to a kernel passes through here: FormatError is raised if the index arrays of these rows
    lead beyond the values or the columns; `source` names the matrix.
    """
    if not (_is_sparse(matrix) and matrix.format == "csr"):
        return _csr(matrix[start:stop], source)
    if matrix.indptr.size != matrix.shape[0] + 1:
        refuse(source, f"it has {matrix.indptr.size} row starts for {matrix.shape[0]} rows")
    # Slicing a csr matrix copies; slices of its arrays are views.
    indptr = _native(matrix.indptr[start : stop + 1])
    check_lengths(matrix.indices, matrix.data, source)
    check_starts(indptr, matrix.indices.size, source, first=start)
    if start == 0 and indptr[0] != 0:
        refuse(source, f"row 0 begins at value {indptr[0]}, expected 0")
    values = slice(indptr[0], indptr[-1])
    indices = _native(matrix.indices[values])
    check_range(indices, matrix.shape[1], source)
    shape = (indptr.size - 1, matrix.shape[1])
    return sparse.csr_matrix((_float32(matrix.data[values]), indices, indptr - indptr[0]), shape=shape)


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
            csr_rows(
                block, max(start - self._starts[i], 0), min(stop, self._starts[i + 1]) - self._starts[i], self._source
            )
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
            sparse.hstack([_csr(tile, self._source) for tile in row], format="csr") for row in dask.compute(*tiles)
        ]
        blocks: list[tuple[int, Any]] = sorted([*kept, *zip(missing, computed, strict=True)], key=lambda part: part[0])
        self._kept = blocks[-1]
        return blocks


def _is_sparse(matrix: Any) -> bool:
    return bool(sparse.issparse(matrix))


def _is_dask(matrix: Any) -> bool:
    """Return whether a matrix, or what an AnnData makes of it in a view, is a Dask array."""
    return any(base.__module__.partition(".")[0] == "dask" for base in type(matrix).__mro__)


def _csr(part: Any, source: str) -> sparse.csr_matrix:
    """Return rows in memory, of any form, as csr float32."""
    if isinstance(part, np.ma.MaskedArray):
        part = _unmasked(part)
    if _is_sparse(part):
        return csr_rows(_as_csr(part, source), 0, part.shape[0], source)
    return sparse.csr_matrix(_float32(np.asarray(part)))


def _as_csr(matrix: Any, source: str) -> Any:
    """Return a sparse matrix as csr; arrays of csr are checked by :func:`csr_rows`, those of others here."""
    if matrix.format == "csr":
        return matrix
    check_sparse(matrix, source)
    return matrix.tocsr()


def _float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return numbers as float32; those that are too large become infinite, which is refused later."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32, copy=False)


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
