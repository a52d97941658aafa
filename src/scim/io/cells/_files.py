"""Files of AnnData: h5ad, zarr folders, zarr in a zip; matrices are opened, not loaded."""

from __future__ import annotations

import contextlib
import os
import zipfile
from functools import partial
from typing import TYPE_CHECKING, Any

import anndata
import h5py  # type: ignore[import-untyped]  # has no types
import pandas as pd
import zarr

from scim._core import FormatError, refuse_absent
from scim.io import local_path
from scim.io.cells._cells import Cells, Lazy, Raw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anndata import AnnData

MAX_CSC_BYTES = 10**9
"""A matrix stored by column is loaded whole to read rows of it, up to this size."""

_READERS = {
    ".loom": "anndata.io.read_loom(path)",
    ".h5": "scanpy.read_10x_h5(path)",
    ".csv": "scanpy.read_csv(path)",
    ".tsv": "scanpy.read_text(path)",
    ".txt": "scanpy.read_text(path)",
    ".mtx": "scanpy.read_10x_mtx(folder)",
}
"""Functions that read files that are not AnnData, by suffix."""


@contextlib.contextmanager
def opened(data: AnnData | str | os.PathLike[str], keep: Sequence[str]) -> Iterator[AnnData | Cells]:
    """Yield an AnnData as it is, and of a file its cells, of which little is loaded; it is closed at the end.

    A file is an h5ad file, a zarr folder or a zip of one; `keep` are the columns of obs to read. FormatError is raised
    if the file holds no AnnData or is damaged, KeyError if a column does not exist.
    """
    if not isinstance(data, str | os.PathLike):
        yield data
        return
    path = _existing(data)
    with contextlib.ExitStack() as stack:
        if path.is_dir() or path.suffix == ".zip":
            root = _open_zarr(path, stack)
        elif path.suffix == ".h5ad" or h5py.is_hdf5(path):
            with _named_damage(str(path)):
                root = stack.enter_context(h5py.File(path, "r"))
        else:
            raise _foreign(path)
        if path.suffix in _READERS and "obs" not in root:
            raise _foreign(path)
        yield _read_cells(root, str(path), keep)


class DiskMatrix:
    """An array of HDF5 or zarr, or a sparse dataset of anndata, of which rows are read by slice.

    Rows of a sparse one are csr, or with `dense` an array; errors name the file.
    """

    def __init__(self, matrix: Any, file: str, *, dense: bool = False) -> None:
        self.shape: tuple[int, ...] = tuple(matrix.shape)
        self.dtype = matrix.dtype
        self._matrix, self._file, self._dense = matrix, file, dense

    def __repr__(self) -> str:
        return f"DiskMatrix({self.shape}, {self.dtype}, of {self._file!r})"

    def __getitem__(self, rows: slice) -> Any:
        with _named_damage(self._file):
            part = self._matrix[rows]
        return part.toarray() if self._dense and hasattr(part, "toarray") else part


def _read_cells(root: Any, file: str, keep: Sequence[str]) -> Cells:
    """Return the cells of an open HDF5 file or zarr group."""
    with _named_damage(file):
        absent = [name for name in ("obs", "var") if name not in root]
        present = sorted(root)
    if "mod" in present:
        msg = f"{file!r} holds a MuData; read it with mudata.read(path) and pass one modality, as mdata['rna']."
        raise FormatError(msg)
    if absent:
        msg = f"{file!r} holds no AnnData: it has no {' and no '.join(absent)}. Present: {present}."
        raise FormatError(msg)
    obs = _read_obs(root, file, keep)
    matrix = partial(_open_matrix, root, file)
    with _named_damage(file):
        var = _frame(root["var"], file)
        raw = Raw(_frame(root["raw/var"], file), partial(matrix, "raw/X")) if "raw/X" in root else None
        layers = {name: partial(matrix, f"layers/{name}") for name in root.get("layers", ())}
        obsm = {name: partial(matrix, f"obsm/{name}", dense=True) for name in root.get("obsm", ())}
        uns = {name: anndata.io.read_elem(root[f"uns/{name}"]) for name in ("log1p", "scim") if f"uns/{name}" in root}
    return Cells(obs, var, partial(matrix, "X"), Lazy(layers), Lazy(obsm), raw, uns)


@contextlib.contextmanager
def _named_damage(file: str) -> Iterator[None]:
    """Raise errors of a damaged file as a `FormatError` with its name."""
    try:
        yield
    except FormatError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # no permission, or another process has it open
        cause = str(error).partition("\n")[0]
        msg = f"{file!r} cannot be read ({cause}): it is damaged or incomplete. Write or copy it again."
        raise FormatError(msg) from error


def _read_obs(root: Any, file: str, keep: Sequence[str]) -> pd.DataFrame:
    with _named_damage(file):
        obs = root["obs"]
        modern = obs.attrs.get("encoding-version") == "0.2.0"
        frame = None if modern else _frame(obs, file)
        columns = list(map(str, obs.attrs["column-order"] if frame is None else frame))
    refuse_absent(keep, columns, of=f"obs of {file!r}")
    if frame is not None:
        return frame[list(keep)]
    with _named_damage(file):
        values = {name: anndata.io.read_elem(obs[name]) for name in keep}
        return pd.DataFrame(values, index=anndata.io.read_elem(obs[obs.attrs["_index"]]))


def _frame(element: Any, file: str) -> pd.DataFrame:
    if "encoding-type" not in element.attrs:
        msg = f"{file!r} was written by an anndata older than 0.7; read it and write it again: "
        msg += "anndata.read_h5ad(path).write_h5ad(other_path)."
        raise FormatError(msg)
    frame: pd.DataFrame = anndata.io.read_elem(element)
    return frame


def _open_matrix(root: Any, file: str, name: str, *, dense: bool = False) -> Any:
    """Open a matrix; one without rows to slice, as a frame, is loaded."""
    if name not in root:
        return None
    with _named_damage(file):
        element = root[name]
        kind = element.attrs.get("encoding-type", element.attrs.get("h5sparse_format", "array"))
        if kind in ("array", "string-array"):
            return DiskMatrix(element, file)
        if kind not in ("csr_matrix", "csc_matrix", "csr", "csc"):
            return anndata.io.read_elem(element)
        matrix = anndata.io.sparse_dataset(element)
    if matrix.format == "csr":
        return DiskMatrix(matrix, file, dense=dense)
    n_bytes = sum(element[part].nbytes for part in ("data", "indices"))
    if n_bytes > MAX_CSC_BYTES:
        msg = f"{name} of {file!r} is stored by column (csc, {n_bytes / 1e9:.1f} GB), from which cells cannot be read. "
        msg += "Convert it once, adata.X = adata.X.tocsr(), and write the file again, or name another matrix."
        raise ValueError(msg)
    with _named_damage(file):
        loaded = matrix.to_memory()
    return loaded.toarray() if dense else loaded.tocsr()


def _existing(data: str | os.PathLike[str]) -> Path:
    if "://" in str(data):
        msg = f"{str(data)!r}: files are read from this machine; copy it here first."
        raise ValueError(msg)
    path = local_path(data)
    if not path.exists():
        msg = f"{str(path)!r}: no such file; expected an h5ad file or a zarr folder."
        raise FileNotFoundError(msg)
    return path


def _open_zarr(path: Path, stack: contextlib.ExitStack) -> Any:
    if not path.is_dir() and not zipfile.is_zipfile(path):
        msg = f"{str(path)!r} cannot be read: it is no zip, or incomplete. Write or copy it again."
        raise FormatError(msg)
    try:
        store = str(path) if path.is_dir() else stack.enter_context(zarr.storage.ZipStore(path, mode="r"))
        return zarr.open_group(store, mode="r")
    except (OSError, KeyError, ValueError) as error:
        is_tiledb = path.is_dir() and any(path.glob("__tiledb_group.tdb"))
        hint = "; it is a TileDB folder: open it with tiledbsoma.Experiment.open(path)" if is_tiledb else ""
        msg = f"{str(path)!r} is no zarr store{hint}. Expected an h5ad file or what adata.write_zarr(path) makes."
        raise FormatError(msg) from error


def _foreign(path: Path) -> FormatError:
    reader = _READERS.get(path.suffix)
    todo = f"read it with {reader} and pass the AnnData" if reader else "read it into an AnnData and pass that"
    return FormatError(f"{str(path)!r} is not a file of AnnData. Expected .h5ad or .zarr; {todo}.")
