"""Read and write cells, and check outputs, for the command line."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

from scim._core import check_obs_key, error_text
from scim.io import new_folder, new_path, real_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anndata import AnnData

CELLS = (".h5ad", ".zarr")
TABLES = (".csv", ".tsv", ".parquet")
_ZARR = ("zarr.json", ".zgroup")


def read_cells(path: Path, groupby: str | None = None) -> AnnData:
    """Read an `.h5ad` or `.zarr` AnnData, or a 10x `.h5` file; raise FormatError for anything else.

    A column `groupby` that is not in obs is refused.
    """
    from scim.io.cells import read_adata

    adata = read_adata(path)
    if groupby is not None:
        check_obs_key(adata, groupby)
    return adata


def check_output(
    path: Path, *, overwrite: bool, kinds: Sequence[str] = (*CELLS, *TABLES), inputs: Sequence[Path] = ()
) -> None:
    """Refuse an output that cannot be written, before any work: wrong kind, file there, no folder, or an input."""
    new_path(path, what="the output")
    if path.suffix not in kinds:
        msg = f"{path}: expected an output ending in {', '.join(kinds)}."
        raise ValueError(msg)
    check_place(path, overwrite=overwrite, inputs=inputs)
    if path.is_dir() and not (path.suffix == ".zarr" and _markers(path)):
        msg = f"{path} is not replaced: it is a folder of something else. Name another."
        raise FileExistsError(msg)
    if path.suffix == ".zarr" and path.is_file():
        msg = f"{path} is not replaced: it is a file, and .zarr is a folder. Name another."
        raise FileExistsError(msg)


def check_place(path: Path, *, overwrite: bool, inputs: Sequence[Path] = ()) -> None:
    """Refuse a path that is taken, is an input or lies in one, or in a folder that is missing or cannot be written."""
    new_path(path, what="the output")
    if path.exists() and not overwrite:
        msg = f"{path} exists already; pass --overwrite to replace it."
        raise FileExistsError(msg)
    for given in inputs:
        if real_path(path).is_relative_to(real_path(given)):
            msg = f"{path} is the input, or lies in it; name another output."
            raise FileExistsError(msg)
    if not path.absolute().parent.is_dir():
        msg = f"{path}: its folder does not exist."
        raise FileNotFoundError(msg)
    check_writable(path)


def check_writable(path: Path) -> None:
    """Raise OSError if no file can be made beside the output: permissions say less, and a disk may be full."""
    temporary = _temporary(path)
    try:
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}. Name another output."
        raise OSError(msg) from error


def _temporary(path: Path) -> Path:
    return path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")


def write_cells(adata: AnnData, path: Path) -> None:
    """Write an AnnData as `.h5ad` or `.zarr`; the file, or the folder, takes its name when it is complete."""
    try:
        if path.suffix == ".zarr":
            with new_folder(path, marker=next(iter(_markers(path)), _ZARR[0]), overwrite=True) as folder:
                adata.write_zarr(folder)
        else:
            with whole_file(path) as temporary:
                adata.write_h5ad(temporary, compression="gzip")
    except OSError:
        raise
    except Exception as error:  # what a value that the format cannot store raises is of anndata, h5py or zarr
        msg = f"The cells cannot be written to {path} ({error_text(error)}). Name an output of another kind, as .csv."
        raise ValueError(msg) from error


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside another, which takes its name when the block ends without an error."""
    temporary = _temporary(path)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        msg = f"{path} cannot be written ({error_text(error)}). Make room, or name another output."
        raise OSError(msg) from error
    finally:
        temporary.unlink(missing_ok=True)


def _markers(folder: Path) -> list[str]:
    """Return the files by which a folder is one of zarr, in its second or third format."""
    return [name for name in _ZARR if (folder / name).exists()]
