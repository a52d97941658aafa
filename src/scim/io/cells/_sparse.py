"""Index arrays of sparse matrices: checked before compiled code follows them, which would read beyond their ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scim._core import CountsError, FormatError

if TYPE_CHECKING:
    from typing import NoReturn

    from numpy.typing import NDArray

_REMEDY = "Read or make it again from its source."


def check_sparse(matrix: Any, source: str) -> None:
    """Check a sparse matrix of scipy, of any format; `source` names it in errors.

    Raises
    ------
    FormatError
        Row or column starts (`indptr`) do not ascend from 0 to the number of values, an index lies outside of the
        matrix, or arrays differ in length.
    """
    kind = matrix.format
    if kind in ("csr", "csc", "bsr"):
        _check_compressed(matrix, source)
    elif kind == "coo":
        for index, length in zip(matrix.coords, matrix.shape, strict=True):
            check_lengths(index, matrix.data, source)
            check_range(index, length, source)
    elif kind == "lil":
        n_indices, n_values = (list(map(len, lists)) for lists in (matrix.rows, matrix.data))
        if len(n_indices) != matrix.shape[0] or n_indices != n_values:
            refuse(source, "its rows have not as many values as indices")
        check_range(np.fromiter((i for row in matrix.rows for i in row), np.int64), matrix.shape[1], source)
    elif kind == "dia":
        if np.shape(matrix.offsets) != matrix.data.shape[:1]:
            refuse(source, "it has not as many diagonals as offsets")
    elif kind == "dok":
        check_sparse(matrix.tocoo(), source)


def dense(values: Any, source: str) -> NDArray[Any]:
    """Return a table of an AnnData, as an entry of obsm, as an array; FormatError as of :func:`check_sparse`."""
    if isinstance(values, pd.DataFrame):
        return np.asarray(values.to_numpy())
    if sparse.issparse(values):
        check_sparse(values, source)
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


def check_starts(indptr: NDArray[Any], n_values: int, source: str, *, first: int = 0) -> None:
    """Raise FormatError unless starts ascend within 0 to `n_values`; they are those of row `first` and the next."""
    if indptr.dtype.kind not in "iu" or indptr.ndim != 1 or not indptr.size:
        refuse(source, f"its row starts (indptr) are {indptr.dtype} of shape {indptr.shape}, expected whole numbers")
    inside = (indptr >= 0) & (indptr <= n_values)  # all are, or a difference may overflow
    if not inside.all():
        row = first + int(np.argmin(inside))
        refuse(source, f"row {row} begins at value {indptr[row - first]} of {n_values}")
    ascends = indptr[1:] >= indptr[:-1]
    if not ascends.all():
        refuse(source, f"row {first + int(np.argmin(ascends))} ends before it begins")


def check_lengths(indices: NDArray[Any], data: NDArray[Any], source: str) -> None:
    """Raise FormatError unless there is one index, a whole number, for each value."""
    if indices.ndim != 1 or indices.shape != data.shape[:1]:
        refuse(source, f"it has {data.shape[0] if data.ndim else 'no'} values and indices of shape {indices.shape}")
    if indices.dtype.kind not in "iu":
        refuse(source, f"its indices are {indices.dtype}, expected whole numbers")


def check_range(indices: NDArray[Any], n: int, source: str) -> None:
    """Raise FormatError unless all indices are in 0 to `n` - 1."""
    if not indices.size:
        return
    # Seen as unsigned, a negative one is larger than any other: one pass finds both.
    largest = int(indices.view(indices.dtype.str.replace("i", "u")).max())
    if largest >= n:
        wrong = indices[(indices < 0) | (indices >= n)]
        refuse(source, f"{wrong.size} of {indices.size} indices, as {wrong[0]}, are not in 0 to {n - 1}")


def refuse(source: str, what: str) -> NoReturn:
    """Raise FormatError for a damaged matrix."""
    msg = f"{source} is damaged: {what}. {_REMEDY}"
    raise FormatError(msg)


def check_shape(matrix: Any, shape: tuple[int, int], source: str) -> None:
    """Raise CountsError for a matrix that has not a row for each cell, and a column for each row of var."""
    found = tuple(getattr(matrix, "shape", ()))
    if found != shape:
        msg = f"{source} has the shape {found}, expected {shape}, as obs and var have it"
        raise CountsError(msg)


def _check_compressed(matrix: Any, source: str) -> None:
    indptr, indices, data = np.asarray(matrix.indptr), np.asarray(matrix.indices), np.asarray(matrix.data)
    height, width = matrix.blocksize if matrix.format == "bsr" else (1, 1)
    n_major, n_minor = matrix.shape[0] // height, matrix.shape[1] // width
    if matrix.format == "csc":
        n_major, n_minor = n_minor, n_major
    check_lengths(indices, data, source)
    check_starts(indptr, indices.size, source)
    if indptr.size != n_major + 1 or indptr[0] != 0:
        refuse(source, f"it has {indptr.size} starts from {indptr[0]} on, expected {n_major + 1} from 0 on")
    check_range(indices[: indptr[-1]], n_minor, source)
