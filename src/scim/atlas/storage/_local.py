"""The files of an atlas in a folder: each appears whole or not at all, and is on the disk before its name is."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from typing import TYPE_CHECKING, NamedTuple

from scim._core import FormatError
from scim.atlas.storage._layout import FOLDERS, LOCKS, is_ours, is_temporary, when_complete
from scim.io import files_below, flush, inside, open_file, read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

CHUNK = 8 << 20
"""Bytes read at once: on S3 each is a request."""

ABANDONED_AFTER = 3600.0
"""Seconds without a byte after which a write or a download counts as killed."""


class StoredFile(NamedTuple):
    """A file of an atlas."""

    name: str  # its path within the atlas, with `/`
    n_bytes: int
    modified: float  # when it was last written, in seconds since 1970 by the clock of the storage


class LocalFiles:
    """Files beneath a folder, which have no links between them; writes in progress are not listed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def tiledb_config(self) -> dict[str, str]:
        return {}

    def exists(self, name: str) -> bool:
        return inside(self.root, name).exists()

    def read(self, name: str, most: int) -> bytes:
        return read_bytes(inside(self.root, name), most=most)

    def chunks(self, name: str) -> Iterator[bytes]:
        with open_file(inside(self.root, name)) as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def write(self, name: str, content: bytes, *, new: bool) -> None:
        with self._temporary(name, new=new) as temporary, temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def put(self, file: Path, name: str) -> None:
        with self._temporary(name, new=False) as temporary, open_file(file) as source, temporary.open("xb") as target:
            shutil.copyfileobj(source, target, CHUNK)
            target.flush()
            os.fsync(target.fileno())

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            inside(self.root, name).unlink(missing_ok=True)

    def delete_folder(self, name: str) -> None:
        folder = self._folder(name)
        self.delete([path for entry in files_below(folder) if is_ours(path := self._name(entry.path))])
        for parent, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):  # it has a file that is not ours
                os.rmdir(parent)  # noqa: PTH106  (as os.walk gives it)

    def files(self, folder: str) -> list[StoredFile]:
        found = []
        for entry in files_below(self._folder(folder)):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                name = self._name(entry.path)
                if "/." not in f"/{name}" or not any(is_temporary(part) for part in name.split("/")):
                    stat = entry.stat(follow_symlinks=False)
                    found.append(StoredFile(name, stat.st_size, stat.st_mtime))
        return sorted(found)

    def folders(self, folder: str) -> list[str]:
        names = [name.rpartition("/")[2] for name, is_folder in self._entries(folder) if is_folder]
        return sorted(name for name in names if not is_temporary(name))

    def unfinished(self) -> list[str]:
        """Return files and folders of writes that were killed; in the folder of leases other writers may be at work."""
        found = []
        for folder in ("", *FOLDERS):
            for name, is_folder in self._entries(folder):
                if is_temporary(name.rpartition("/")[2]) and (is_folder or is_ours(name)):
                    found += [name] if folder != LOCKS or self._is_abandoned(name) else []
        return sorted(found)

    def sweep(self) -> None:
        for name in self.unfinished():
            (self.delete_folder(name) if inside(self.root, name).is_dir() else self.delete([name]))

    def drop_empty(self, folder: str) -> None:
        """Remove the folders of fragments, and of arrays of TileDB, in which no file is left."""
        full: set[str] = set()
        for parent, folders, names in os.walk(inside(self.root, folder), topdown=False):
            if names or any(os.path.join(parent, name) in full for name in folders):  # noqa: PTH118  (as above)
                full.add(parent)
            elif "__schema" in folders or os.path.basename(os.path.dirname(parent)) == "__fragments":  # noqa: PTH119, PTH120
                shutil.rmtree(parent, ignore_errors=True)

    def _folder(self, name: str) -> Path:
        return inside(self.root, name) if name else self.root

    def _entries(self, folder: str) -> list[tuple[str, bool]]:
        """Return the entries of a folder, and whether each is a folder."""
        try:
            with os.scandir(self._folder(folder)) as entries:
                return [(self._name(entry.path), entry.is_dir(follow_symlinks=False)) for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _name(self, path: str) -> str:
        return path[len(str(self.root)) + 1 :].replace(os.sep, "/")

    def _is_abandoned(self, name: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return inside(self.root, name).stat().st_mtime < time.time() - ABANDONED_AFTER
        return False

    @contextlib.contextmanager
    def _temporary(self, name: str, *, new: bool) -> Iterator[Path]:
        path = inside(self.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(path)
        try:
            yield temporary
            if new:
                _link(temporary, path)
            else:
                temporary.replace(path)
            flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _link(temporary: Path, path: Path) -> None:
    # A link fails where the name is taken, a rename would replace the file.
    try:
        path.hardlink_to(temporary)
    except OSError:
        if path.exists():
            msg = f"{str(path)!r} exists already."
            raise FileExistsError(msg) from None
        temporary.replace(path)  # a file system without links


def temporary_path(path: Path) -> Path:
    """Return a path beside another, for a file or folder until it is complete."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def abandoned_beside(path: Path) -> list[Path]:
    """Return the folders in which `path` was made by processes that were killed long ago."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.endswith(".tmp") and is_temporary(entry.name) and when_complete(entry.name) == path.name:
                with contextlib.suppress(FormatError):  # it has a link, and is left alone
                    if entry.is_dir(follow_symlinks=False) and _last_change(entry) < time.time() - ABANDONED_AFTER:
                        found.append(path.with_name(entry.name))
    return found


def _last_change(folder: os.DirEntry[str]) -> float:
    times = [entry.stat(follow_symlinks=False).st_mtime for entry in files_below(folder)]
    return max([folder.stat(follow_symlinks=False).st_mtime, *times])
