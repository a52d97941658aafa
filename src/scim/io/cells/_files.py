"""Files of AnnData: h5ad, zarr folders, zarr in a zip; matrices are opened, not loaded."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import anndata
import pandas as pd

from scim._core import FormatError, hide_secrets, refuse_absent
from scim.io import local_path
from scim.io.cells._cells import Cells, Lazy, Raw
from scim.io.cells._disk import DiskMatrix, check_stored, named_damage, stored_format, stored_sparse
from scim.io.cells._store import check_loadable, is_hdf5, open_store, stored_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anndata import AnnData

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
    path = existing(data)
    if not path.is_dir() and path.suffix not in (".h5ad", ".zip") and not is_hdf5(path):
        raise _foreign(path)
    with open_store(path) as root:
        if path.suffix in _READERS and "obs" not in root:
            raise _foreign(path)
        yield AnnDataFile(root, str(path), stored_bytes(path)).read(keep)


class AnnDataFile:
    """The parts of an open HDF5 file or zarr group; what is loaded of it is compared with its size first."""

    def __init__(self, root: Any, file: str, n_bytes: int) -> None:
        self._root, self._file, self._n_bytes = root, file, n_bytes

    def read(self, keep: Sequence[str]) -> Cells:
        """Return the cells, with these columns of obs."""
        _refuse_other_content(self._root, self._file)
        obs = self._obs(keep)
        with named_damage(repr(self._file)):
            var, matrix = self._frame("var"), partial(self._matrix, n_obs=len(obs))
            raw = Raw(self._frame("raw/var"), partial(matrix, "raw/X")) if "raw/X" in self._root else None
            layers = {name: partial(matrix, f"layers/{name}") for name in self._names("layers")}
            obsm = {name: partial(matrix, f"obsm/{name}", dense=True) for name in self._names("obsm")}
            uns = {name: self._load(f"uns/{name}") for name in self._names("uns") if name in ("log1p", "scim")}
        return Cells(obs, var, partial(matrix, "X"), Lazy(layers), Lazy(obsm), raw, uns, self._file)

    def check(self) -> None:
        """Check frames and sparse matrices, so that what anndata would read otherwise than it is meant is refused."""
        _refuse_other_content(self._root, self._file)
        with named_damage(repr(self._file)):
            for name in ("obs", "var", "raw/var"):
                if name in self._root and _is_modern(self._root[name]):
                    self._frame(name)
            for name in ("X", "raw/X", *(f"layers/{layer}" for layer in self._names("layers"))):
                if name in self._root and (kind := stored_format(self._root[name].attrs)):
                    check_stored(self._root[name], kind, f"{name} of {self._file!r}")

    def _names(self, group: str) -> list[str]:
        return sorted(self._root[group].keys()) if group in self._root else []

    def _load(self, name: str) -> Any:
        check_loadable(self._root[name], self._n_bytes, self._file)
        return anndata.io.read_elem(self._root[name])

    def _obs(self, keep: Sequence[str]) -> pd.DataFrame:
        with named_damage(repr(self._file)):
            obs = self._root["obs"]
            if not _is_modern(obs):
                frame = self._frame("obs")
            columns = _column_names(obs) if _is_modern(obs) else list(map(str, frame))
        refuse_absent(keep, columns, of=f"obs of {self._file!r}")
        if not _is_modern(obs):
            return frame[list(keep)]
        with named_damage(repr(self._file)):
            return self._columns("obs", keep)

    def _frame(self, name: str) -> pd.DataFrame:
        element = self._root[name]
        if "encoding-type" not in element.attrs:
            msg = f"{self._file!r} was written by an anndata older than 0.7; read it and write it again: "
            msg += "anndata.read_h5ad(path).write_h5ad(other_path)."
            raise FormatError(msg)
        if _is_modern(element):
            return self._columns(name, _column_names(element))
        frame = self._load(name)
        if not isinstance(frame, pd.DataFrame):
            raise self._wrong(name, f"it is a {type(frame).__name__}")
        return frame

    def _columns(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        """Return columns of a frame; each must have a value for each row: pandas would repeat a single one."""
        index = self._load(f"{name}/{self._root[name].attrs['_index']}")
        values = {column: self._load(f"{name}/{column}") for column in columns}
        for column, value in {"_index": index, **values}.items():
            if getattr(value, "shape", None) != (len(index),):
                raise self._wrong(column, f"it has the shape {getattr(value, 'shape', None)}, not that of {name}")
        return pd.DataFrame(values, index=pd.Index(index).astype(str), columns=list(columns) or None)

    def _matrix(self, name: str, n_obs: int, *, dense: bool = False) -> Any:
        """Open a matrix; one without rows to slice, as a frame, is loaded."""
        if name not in self._root:
            return None
        source = f"{name} of {self._file!r}"
        with named_damage(source):
            element = self._root[name]
            is_array, kind = hasattr(element, "shape"), stored_format(element.attrs)
        if is_array:
            return DiskMatrix(element, source)
        if kind is not None:
            return stored_sparse(element, kind, source, dense=dense)
        with named_damage(source):
            frame = self._load(name)
        if not isinstance(frame, pd.DataFrame) or len(frame) != n_obs:
            raise self._wrong(name, f"it is a {type(frame).__name__}")
        return frame

    def _wrong(self, name: str, what: str) -> FormatError:
        msg = f"{name!r} of {self._file!r} is damaged: {what}. Write or copy the file again."
        return FormatError(msg)


def _refuse_other_content(root: Any, file: str) -> None:
    """Raise FormatError for a file of something else than an AnnData."""
    with named_damage(repr(file)):
        present = sorted(root)
        absent = [name for name in ("obs", "var") if name not in present]
    if "mod" in present:
        msg = f"{file!r} holds a MuData; read it with mudata.read(path) and pass one modality, as mdata['rna']."
        raise FormatError(msg)
    if absent:
        msg = f"{file!r} holds no AnnData: it has no {' and no '.join(absent)}. Present: {present}."
        raise FormatError(msg)


def _is_modern(frame: Any) -> bool:
    return bool(frame.attrs.get("encoding-version") == "0.2.0" and frame.attrs.get("encoding-type") == "dataframe")


def _column_names(frame: Any) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in frame.attrs["column-order"]]


def existing(data: str | os.PathLike[str]) -> Path:
    """Return the path of a file or folder on this machine that exists."""
    if "://" in str(data):
        msg = f"{hide_secrets(str(data))!r}: files are read from this machine; copy it here first."
        raise ValueError(msg)
    path = local_path(data)
    if not path.exists():
        msg = f"{str(path)!r}: no such file; expected an h5ad file or a zarr folder."
        raise FileNotFoundError(msg)
    return path


def _foreign(path: Path) -> FormatError:
    reader = _READERS.get(path.suffix)
    todo = f"read it with {reader} and pass the AnnData" if reader else "read it into an AnnData and pass that"
    return FormatError(f"{str(path)!r} is not a file of AnnData. Expected .h5ad or .zarr; {todo}.")
