"""Opening files of AnnData: h5ad, zarr folders, zarr in a zip."""

from __future__ import annotations

import contextlib
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py  # type: ignore[import-untyped]  # has no types
import zarr

from scim._core.errors import FormatError
from scim.io._on_disk import damage_named, read_cells

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

    from scim.io._cells import Cells

_READERS = {
    ".loom": "anndata.io.read_loom(path)",
    ".h5": "scanpy.read_10x_h5(path)",
    ".csv": "scanpy.read_csv(path)",
    ".tsv": "scanpy.read_text(path)",
    ".txt": "scanpy.read_text(path)",
    ".mtx": "scanpy.read_10x_mtx(folder)",
}
"""What reads files that are not AnnData, by the end of their names."""


@contextlib.contextmanager
def opened(data: AnnData | str | os.PathLike[str], keep: Sequence[str]) -> Iterator[AnnData | Cells]:
    """Yield an AnnData as it is, and of a file its cells, of which little is loaded; it is closed at the end.

    Parameters
    ----------
    data
        AnnData, or path of an h5ad file, of a zarr folder or of a zip of one.
    keep
        Columns of obs to read; others stay on disk.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    FormatError
        The file holds no AnnData, or is damaged.
    KeyError
        A column does not exist.
    """
    if not isinstance(data, str | os.PathLike):
        yield data
        return
    path = _existing(data)
    with contextlib.ExitStack() as stack:
        if path.is_dir() or path.suffix == ".zip":
            root = _open_zarr(path, stack)
        elif path.suffix == ".h5ad" or h5py.is_hdf5(path):
            with damage_named(str(path)):
                root = stack.enter_context(h5py.File(path, "r"))
        else:
            raise _foreign(path)
        if path.suffix in _READERS and "obs" not in root:
            raise _foreign(path)
        yield read_cells(root, str(path), keep)


def _existing(data: str | os.PathLike[str]) -> Path:
    if "://" in str(data):
        msg = f"{str(data)!r}: files are read from this machine; copy it here first."
        raise ValueError(msg)
    path = Path(data).expanduser()
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
        hint = "; it is a TileDB folder: open it with tiledbsoma.Experiment.open(path)" if _is_tiledb(path) else ""
        msg = f"{str(path)!r} is no zarr store{hint}. Expected an h5ad file or what adata.write_zarr(path) makes."
        raise FormatError(msg) from error


def _is_tiledb(path: Path) -> bool:
    return path.is_dir() and any(path.glob("__tiledb_group.tdb"))


def _foreign(path: Path) -> FormatError:
    reader = _READERS.get(path.suffix)
    todo = f"read it with {reader} and pass the AnnData" if reader else "read it into an AnnData and pass that"
    return FormatError(f"{str(path)!r} is not a file of AnnData. Expected .h5ad or .zarr; {todo}.")
