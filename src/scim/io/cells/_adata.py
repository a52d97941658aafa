"""A file of cells as an AnnData in memory: checked before it is read, and again before anything uses it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import anndata
from scipy import sparse

from scim._core import FormatError
from scim.io.cells._disk import check_10x, named_damage
from scim.io.cells._files import AnnDataFile, existing
from scim.io.cells._sparse import check_sparse
from scim.io.cells._store import check_loadable, is_hdf5, open_store, stored_bytes

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData


def read_adata(path: str | os.PathLike[str]) -> AnnData:
    """Read an `.h5ad` file, a `.zarr` folder or a 10x `.h5` file into memory.

    Raises
    ------
    FileNotFoundError
        There is none.
    FormatError
        It is something else, or damaged: a part is missing, reaches into other files, claims more content than the
        file has, or holds a matrix whose index arrays are inconsistent.
    """
    found = existing(path)
    readers = {".h5ad": _read_h5ad, ".zarr": _read_zarr, ".h5": _read_10x}
    if found.suffix not in readers:
        msg = f"{str(found)!r}: expected an .h5ad, .zarr or 10x .h5 file."
        raise FormatError(msg)
    if found.suffix != ".zarr" and not is_hdf5(found):
        msg = f"{str(found)!r} cannot be read as {found.suffix}: it is no HDF5 file, or its beginning is damaged."
        raise FormatError(msg)
    with open_store(found) as root:
        n_bytes = stored_bytes(found)
        check_loadable(root, n_bytes, str(found))
        if found.suffix != ".h5":
            AnnDataFile(root, str(found), n_bytes).check()
        adata: AnnData = readers[found.suffix](root, found)
    check_matrices(adata, str(found))
    return adata


def check_matrices(adata: AnnData, file: str = "") -> None:
    """Raise FormatError if a sparse matrix of an AnnData has inconsistent index arrays; `file` is where it is from."""
    of = f" of {file!r}" if file else ""
    for place, matrix in _matrices(adata):
        if sparse.issparse(matrix):
            check_sparse(matrix, f"{place}{of}")


def check_view(adata: Any) -> None:
    """Check the matrices of what a view is a part of: compiled code takes its rows when it is first looked at."""
    if getattr(adata, "is_view", False) and not adata.isbacked:
        check_matrices(adata._adata_ref)


def _matrices(adata: AnnData) -> Iterator[tuple[str, Any]]:
    with contextlib.suppress(KeyError):  # of cells that are read lazily, without X
        yield "X", adata.X
    if adata.raw is not None:
        yield "raw.X", adata.raw.X
    for slot in ("layers", "obsm", "varm", "obsp", "varp"):
        for name, matrix in getattr(adata, slot).items():
            yield f"{slot}[{name!r}]", matrix


def _read_h5ad(_root: Any, path: Path) -> AnnData:
    with named_damage(repr(str(path))):
        return anndata.read_h5ad(path)


def _read_zarr(root: Any, path: Path) -> AnnData:
    with named_damage(repr(str(path))):
        return anndata.read_zarr(root)


def _read_10x(root: Any, path: Path) -> AnnData:
    """Read a 10x file; scanpy selects columns of the matrix before anybody can check it, so it is checked here."""
    groups = [name for name in root if hasattr(root[name], "keys") and "indptr" in root[name]]
    if not groups:
        msg = f"{str(path)!r} has no matrix of 10x, as 'matrix/indptr'. Present: {sorted(root)}."
        raise FormatError(msg)
    for name in groups:
        check_10x(root[name], f"{name} of {str(path)!r}")
    from scim._core.kernel_cache import cache_folder  # noqa: PLC0415  (numba takes seconds to import, and so does scanpy)

    with cache_folder():
        import scanpy as sc  # noqa: PLC0415
    with named_damage(repr(str(path))):
        adata = sc.read_10x_h5(path)
        adata.var_names_make_unique()
    return adata
