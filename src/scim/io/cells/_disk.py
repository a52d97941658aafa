"""Matrices of h5ad and zarr files, of which rows are read by slice; what a file says of them is checked first."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scim._core import CountsError, FormatError, error_text
from scim.io.cells._sparse import check_lengths, check_range, check_sparse, check_starts, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MAX_CSC_BYTES = 10**9
"""A matrix stored by column is loaded whole to read rows of it, up to this size."""

MOST_CHUNK = 2**28
"""Bytes of a chunk, which is decompressed whole whatever is read of it; anndata writes some megabytes at most."""

_MOST_LENGTH = 2**40
_BLOCK = 2**22
_MOST_PARTS = 16  # of a value that is stored in parts, which are added up; it bounds the memory of some rows

_FORMATS = {"csr_matrix": "csr", "csc_matrix": "csc", "csr": "csr", "csc": "csc"}
"""Of sparse matrices, by what a file calls them; the last two are names of anndata before 0.7."""


class DiskMatrix:
    """An array of HDF5 or zarr, of which rows are read by slice; errors name it and the file."""

    def __init__(self, array: Any, source: str) -> None:
        if getattr(array, "ndim", 0) != 2:
            refuse(source, f"it has the shape {getattr(array, 'shape', None)}, expected rows and columns")
        check_chunks(array, source)
        self.shape: tuple[int, int] = (int(array.shape[0]), int(array.shape[1]))
        self.dtype = array.dtype
        self._array, self._source = array, source

    def __repr__(self) -> str:
        return f"DiskMatrix({self.shape}, {self.dtype}, {self._source})"

    def __getitem__(self, rows: slice) -> Any:
        with named_damage(self._source):
            return self._array[rows]


class DiskRows:
    """A sparse matrix of HDF5 or zarr stored by row, as anndata writes it, of which rows are read by slice.

    Rows are csr, or with `dense` an array. Only the row starts stay in memory.
    """

    def __init__(self, group: Any, source: str, *, dense: bool = False) -> None:
        self.shape = _stored_shape(group, source)
        self._data, self._indices, self._indptr = _stored_parts(group, self.shape[0], self.shape, source)
        self.dtype = self._data.dtype
        self._source, self._dense = source, dense
        self._starts: NDArray[np.int64] | None = None

    def __repr__(self) -> str:
        return f"DiskRows({self.shape}, {self.dtype}, {self._source})"

    def __getitem__(self, rows: slice) -> Any:
        start, stop, _ = rows.indices(self.shape[0])
        if self._starts is None:
            self._starts = _read_starts(self._indptr, self._data.shape[0], self.shape[1], self._source)
        indptr = self._starts[start : max(start, stop) + 1]
        values = slice(int(indptr[0]), int(indptr[-1]))
        with named_damage(self._source):
            data, indices = np.asarray(self._data[values]), np.asarray(self._indices[values])
        check_lengths(indices, data, self._source)
        check_range(indices, self.shape[1], self._source)
        part = sparse.csr_matrix((data, indices, indptr - indptr[0]), shape=(indptr.size - 1, self.shape[1]))
        return part.toarray() if self._dense else part


def on_disk(matrix: Any, source: str, *, dense: bool = False) -> Any:
    """Return a matrix whose rows are read by slice of an array or a sparse group of a file; others as they are."""
    group = getattr(matrix, "group", None)  # of anndata's own classes, for a backed AnnData
    file = getattr(getattr(group if group is not None else matrix, "file", None), "filename", None)
    source = f"{source} of {file!r}" if isinstance(file, str) else source
    if group is not None and getattr(matrix, "format", "") in ("csr", "csc"):
        return stored_sparse(group, matrix.format, source, dense=dense)
    package = type(matrix).__module__.partition(".")[0]
    return DiskMatrix(matrix, source) if package in ("h5py", "zarr") else matrix


def stored_sparse(group: Any, kind: str, source: str, *, dense: bool = False) -> Any:
    """Return a sparse group of a file, of which rows are read by slice; ValueError if it is by column and large."""
    return DiskRows(group, source, dense=dense) if kind == "csr" else _loaded(group, source, dense=dense)


def stored_format(attributes: Any) -> str | None:
    """Return "csr" or "csc" for the attributes of a sparse group, `None` for those of anything else."""
    kind = attributes.get("encoding-type", attributes.get("h5sparse_format"))
    return _FORMATS.get(kind) if isinstance(kind, str) else None


def check_chunks(array: Any, source: str) -> None:
    """Raise FormatError for an array whose chunks would take more memory than they have a right to."""
    n_bytes = int(np.prod(array.chunks or (0,), dtype=object)) * array.dtype.itemsize
    if n_bytes > MOST_CHUNK:
        msg = f"{source} has chunks of {n_bytes / 1e9:.3g} GB, expected at most {MOST_CHUNK / 1e9:.3g}. Write it again "
        msg += "with anndata, or in smaller chunks."
        raise FormatError(msg)


@contextlib.contextmanager
def named_damage(source: str) -> Iterator[None]:
    """Raise whatever a library says of a damaged file as a `FormatError` with the name of the file, or of its part."""
    try:
        yield
    except FormatError:
        raise
    except Exception as error:  # h5py, zarr, anndata, pandas and numpy raise errors of many kinds
        if isinstance(error, PermissionError | BlockingIOError):
            raise  # no permission, or another process has it open
        cause = error_text(error).partition("\n")[0][:300]
        msg = f"{source} cannot be read ({cause}): it is damaged or incomplete. Write or copy it again."
        raise FormatError(msg) from error


def _loaded(group: Any, source: str, *, dense: bool) -> Any:
    """Load a matrix that is stored by column."""
    shape = _stored_shape(group, source)
    data, indices, indptr = _stored_parts(group, shape[1], shape, source)
    n_bytes = sum(int(part.shape[0]) * part.dtype.itemsize for part in (data, indices))
    if n_bytes > MAX_CSC_BYTES:
        msg = f"{source} is stored by column (csc, {n_bytes / 1e9:.1f} GB), from which cells cannot be read. "
        msg += "Convert it once, adata.X = adata.X.tocsr(), and write the file again, or name another matrix."
        raise CountsError(msg)
    starts = _read_starts(indptr, data.shape[0], shape[0], source)
    with named_damage(source):
        matrix = sparse.csc_matrix((np.asarray(data[:]), np.asarray(indices[:]), starts), shape=shape)
    check_sparse(matrix, source)
    return matrix.toarray() if dense else matrix.tocsr()


def check_stored(group: Any, kind: str, source: str) -> None:
    """Check what a file says of a sparse group, of which no values are read; FormatError as elsewhere."""
    shape = _stored_shape(group, source)
    _stored_parts(group, shape[0 if kind == "csr" else 1], shape, source)


def check_10x(group: Any, source: str) -> None:
    """Check the matrix of a 10x file, (genes, cells) by column, before all of it is read; FormatError as elsewhere."""
    with named_damage(source):
        n_genes, n_cells = (int(length) for length in group["shape"][:])
    data, indices, indptr = _stored_parts(group, n_cells, (n_genes, n_cells), source)
    _read_starts(indptr, data.shape[0], n_genes, source)
    for start in range(0, indices.shape[0], _BLOCK):
        with named_damage(source):
            block = np.asarray(indices[start : start + _BLOCK])
        check_range(block, n_genes, source)


def _stored_shape(group: Any, source: str) -> tuple[int, int]:
    with named_damage(source):
        found = group.attrs["shape"] if "shape" in group.attrs else group.attrs["h5sparse_shape"]
        n_rows, n_columns = (int(length) for length in found)
    return n_rows, n_columns


def _stored_parts(group: Any, n_major: int, shape: tuple[int, int], source: str) -> list[Any]:
    """Return data, indices and starts of a sparse group, which are not read yet; `n_major` is its length along these.

    The starts must be as many as rows or columns, so that a made-up shape is refused before anything is allocated.
    """
    with named_damage(source):
        parts = data, indices, indptr = [group[name] for name in ("data", "indices", "indptr")]
        lengths = [part.shape[0] for part in parts if len(part.shape) == 1]
        kinds = "".join(part.dtype.kind for part in parts)
    if min(shape) < 0 or max(shape) >= _MOST_LENGTH:
        refuse(source, f"it has the shape {shape}")
    if len(lengths) != 3 or lengths[0] != lengths[1] or lengths[2] != n_major + 1:
        refuse(source, f"it is of shape {shape}, but its data, indices and indptr have the lengths {lengths}")
    if kinds[0] not in "fiub" or not set(kinds[1:]) <= set("iu"):
        refuse(source, f"its data, indices and indptr are {data.dtype}, {indices.dtype} and {indptr.dtype}")
    for part in parts:
        check_chunks(part, source)
    for part in (data, indices):
        # zarr reads zeros for a chunk that is lost; those that are stored as such are no part of a sparse matrix.
        if min(shape) > 1 and hasattr(part, "nchunks_initialized") and part.nchunks_initialized < part.nchunks:
            refuse(source, f"{part.nchunks - part.nchunks_initialized} of {part.nchunks} chunks of values are missing")
    return parts


def _read_starts(indptr: Any, n_values: int, n_minor: int, source: str) -> NDArray[np.int64]:
    """Return the starts of rows or columns, which end with the last value."""
    with named_damage(source):
        starts = np.asarray(indptr[:])
    check_starts(starts, n_values, source)
    starts = starts.astype(np.int64)
    if starts[0] != 0 or starts[-1] != n_values:
        # scipy allows arrays that are longer than the matrix, but in a file the end of the last row may be lost.
        refuse(source, f"its rows or columns have the values {starts[0]} to {starts[-1]} of {n_values}, expected all")
    lengths = np.diff(starts)
    if lengths.size and lengths.max() > _MOST_PARTS * n_minor:
        at = int(lengths.argmax())
        refuse(source, f"row or column {at} has {lengths[at]} values in {n_minor} places")
    return starts
