"""The files of an atlas in a folder: each appears whole or not at all, and is on the disk before its name is."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from typing import TYPE_CHECKING, NamedTuple

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
    """Files beneath a folder; names of the form `.*.tmp` are writes in progress and not listed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def tiledb_config(self) -> dict[str, str]:
        return {}

    def exists(self, name: str) -> bool:
        return (self.root / name).exists()

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def chunks(self, name: str) -> Iterator[bytes]:
        with (self.root / name).open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def write(self, name: str, content: bytes, *, new: bool) -> None:
        with self._temporary(name, new=new) as temporary, temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def put(self, file: Path, name: str) -> None:
        with self._temporary(name, new=False) as temporary, file.open("rb") as source, temporary.open("xb") as target:
            shutil.copyfileobj(source, target, CHUNK)
            target.flush()
            os.fsync(target.fileno())

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            (self.root / name).unlink(missing_ok=True)

    def delete_folder(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.root / name)

    def files(self, folder: str) -> list[StoredFile]:
        found = []
        for parent, folders, names in os.walk(self.root / folder):
            folders[:] = [name for name in folders if not _is_temporary(name)]
            for name in names:
                path = os.path.join(parent, name)  # noqa: PTH118  (half a million files: Path costs more than the disk)
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    if not _is_temporary(name):
                        stat = os.stat(path)  # noqa: PTH116  (as above)
                        relative = path[len(str(self.root)) + 1 :].replace(os.sep, "/")
                        found.append(StoredFile(relative, stat.st_size, stat.st_mtime))
        return sorted(found)

    def folders(self, folder: str) -> list[str]:
        try:
            return sorted(p.name for p in (self.root / folder).iterdir() if p.is_dir() and not _is_temporary(p.name))
        except FileNotFoundError:
            return []

    @contextlib.contextmanager
    def _temporary(self, name: str, *, new: bool) -> Iterator[Path]:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(path)
        try:
            yield temporary
            if new:
                _link(temporary, path)
            else:
                temporary.replace(path)
            _flush_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def sweep(root: Path, *, spare: str) -> None:
    """Delete temporary files of writes that were killed; in the folder `spare` other writers may be at work."""
    folders = [path for path in root.iterdir() if path.is_dir() and path.name not in ("soma", spare)]
    for folder in (root, *(path for path in folders if not _is_temporary(path.name))):
        for path in folder.iterdir():
            if _is_temporary(path.name) and path.is_dir():
                shutil.rmtree(path)
            elif _is_temporary(path.name):
                path.unlink(missing_ok=True)
    for path in (root / spare).glob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - ABANDONED_AFTER:
                path.unlink()


def _link(temporary: Path, path: Path) -> None:
    # A link fails where the name is taken, a rename would replace the file.
    try:
        path.hardlink_to(temporary)
    except OSError:
        if path.exists():
            msg = f"{str(path)!r} exists already."
            raise FileExistsError(msg) from None
        temporary.replace(path)  # a file system without links


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_path(path: Path) -> Path:
    """Return a path beside another, for a file or folder until it is complete."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")
