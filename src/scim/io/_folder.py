"""Write folders, JSON and arrays so that they appear whole or not at all; release the pages of maps."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shutil
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from scim.io._paths import new_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt
    from numpy.typing import NDArray


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str], *, marker: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, and rename it to `path` when the block ends without an error.

    With `overwrite`, an empty folder or one that has the file `marker` is replaced; whatever else is at `path` raises
    FileExistsError.
    """
    path = new_path(path, what="a folder")
    if path.exists() and not overwrite:
        msg = f"{str(path)!r} exists already; pass overwrite=True to replace it."
        raise FileExistsError(msg)
    if path.exists() and not (path.is_dir() and ((path / marker).exists() or not any(path.iterdir()))):
        msg = f"{str(path)!r} is not replaced: it has no {marker!r}, so it is something else. Name another."
        raise FileExistsError(msg)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            _swap(path, temporary)
        else:
            temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _swap(path: Path, new: Path) -> None:
    """Replace a folder, which no system does in one step: rename the old one, and delete it last."""
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old)


def new_array(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> NDArray[Any]:
    """Make an npy file and return its map, to be filled; raise OSError if the disk has no room for it.

    The bytes are allocated at once: a write to a map for which there is no room would end the process.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # macOS and Windows have none
        with path.open("rb+") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error
    return array


def release_pages(X: NDArray[Any], *, unwritten: bool = False) -> None:
    """Drop the pages of a file map that were touched: they would count as memory of this process; the file has them.

    Other arrays are left alone, and copy-on-write maps too unless they are `unwritten`: their changes would be lost.
    """
    array: Any = X
    while isinstance(array, np.ndarray) and not (isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)):
        array = array.base
    kept = ("r", "r+", "w+", "c") if unwritten else ("r", "r+", "w+")
    if array is not None and getattr(array, "mode", "") in kept and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON to a temporary name, flush it to disk and rename it, so that readers see the old or the new file."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
