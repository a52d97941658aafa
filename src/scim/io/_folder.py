"""List folders; write folders, JSON and arrays so that they appear whole or not at all; release the pages of maps."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shutil
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import FormatError, error_text
from scim.io._names import is_link
from scim.io._open import check_regular
from scim.io._paths import new_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt
    from numpy.typing import NDArray


def files_below(folder: str | os.PathLike[str]) -> Iterator[os.DirEntry[str]]:
    """Yield the files in a folder and in its folders; none if there is no such folder.

    Raises
    ------
    FormatError
        There is a link, a pipe or a device: what is behind it is not of this folder. Or `folder` is a file.
    """
    left = [os.fspath(folder)]
    while left:
        try:
            entries = os.scandir(left.pop())
        except FileNotFoundError:  # deleted meanwhile
            continue
        except NotADirectoryError as error:
            msg = f"{error.filename!r} is a file, expected a folder."
            raise FormatError(msg) from error
        with entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    yield entry
                elif entry.is_dir(follow_symlinks=False) and not is_link(entry):
                    left.append(entry.path)
                else:
                    with contextlib.suppress(FileNotFoundError):
                        check_regular(entry.path)


@contextlib.contextmanager
def new_folder(
    path: str | os.PathLike[str],
    *,
    marker: str,
    overwrite: bool = False,
    is_known: Callable[[str], bool] = lambda _: True,
) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, and rename it to `path` when the block ends without an error.

    With `overwrite`, an empty folder or one that has the file `marker` is replaced; whatever else is at `path` raises
    FileExistsError, and so does a folder with a link, or with a file whose name in it `is_known` does not know.
    """
    path = new_path(path, what="a folder")
    if path.exists() or is_link(path):
        if not overwrite:
            msg = f"{str(path)!r} exists already; pass overwrite=True to replace it."
            raise FileExistsError(msg)
        if reason := _why_kept(path, marker, is_known):
            msg = f"{str(path)!r} is not replaced: {reason}."
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


def _why_kept(path: Path, marker: str, is_known: Callable[[str], bool]) -> str | None:
    """Return why a folder is not replaced: it, or something in it, is not of scim; `None` if nothing would be lost."""
    if is_link(path):
        return "it is a link; name the folder itself"
    if not (path.is_dir() and ((path / marker).exists() or not any(path.iterdir()))):
        return f"it has no {marker!r}, so it is something else. Name another"
    try:
        for entry in files_below(path):
            name = entry.path[len(str(path)) + 1 :].replace(os.sep, "/")
            if not is_known(name):
                return f"{name!r} in it is no file of scim; move it elsewhere"
    except FormatError as error:
        return error_text(error)
    return None


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


def flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk: what is written next must not outlive it."""
    if os.name == "nt" and path.is_dir():  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
