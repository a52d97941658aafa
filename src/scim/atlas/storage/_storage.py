"""The files of one atlas."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from scim._core import StorageError, progress
from scim.atlas.storage._local import LocalFiles, sweep
from scim.io import local_path

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from scim.atlas.storage._local import StoredFile
    from scim.atlas.storage._s3 import S3Files

N_PARALLEL = 8
_SPECIAL = "#?\n\r\t"  # TileDB-SOMA takes a path for an address, and reads or leaves out what these begin

LOCKS = "lock"
"""Folder of the leases of writers."""


class Storage:
    """The files of one atlas, in a folder or under a prefix of a bucket.

    Names of files are relative to the atlas, with `/`. An error in a folder is Python's `OSError`, an error on S3 a
    `StorageError` that names what was tried.
    """

    def __init__(self, uri: str, path: Path | None) -> None:
        self.uri = uri  # the absolute path, or "s3://bucket/prefix"; never with a slash at its end
        self.path = path  # the folder; `None` on S3

    def __repr__(self) -> str:
        return f"Storage({self.uri!r})"

    @classmethod
    def of(cls, uri: str | os.PathLike[str]) -> Storage:
        """Return the storage at a path or an address; nothing is read or made."""
        if isinstance(uri, str) and uri.startswith("s3://"):
            return cls(_check_address(uri), None)
        # TileDB takes a relative path from where the process started.
        path = local_path(uri, what="an atlas or the address of one, as 's3://bucket/name'").resolve()
        local_path(path, what="an atlas", without=_SPECIAL)
        return cls(str(path), path)

    @cached_property
    def _files(self) -> LocalFiles | S3Files:
        if self.path is not None:
            return LocalFiles(self.path)
        from scim.atlas.storage._s3 import S3Files  # noqa: PLC0415  (reading a folder needs no S3)

        return S3Files(self.uri.removeprefix("s3://"))

    def child(self, name: str) -> str:
        """Return the address of a part, as TileDB takes it."""
        return f"{self.uri}/{_check_name(name)}"

    def tiledb_config(self) -> dict[str, str]:
        """Return the options with which TileDB reaches this storage, from `scim.settings.storage`."""
        return self._files.tiledb_config()

    def exists(self, name: str) -> bool:
        """Return whether there is a file or folder of that name."""
        return self._files.exists(_check_name(name))

    def read(self, name: str) -> bytes:
        """Return the content of a file; `FileNotFoundError` if there is none."""
        return self._files.read(_check_name(name))

    def write(self, name: str, content: bytes, *, new: bool = False) -> None:
        """Write a file whole or not at all, replacing what was there; with `new` FileExistsError if there is one.

        In a folder `new` also holds for two writers at once; on S3 it needs the lock.
        """
        self._files.write(_check_name(name), content, new=new)

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; missing ones are ignored."""
        self._files.delete([_check_name(name) for name in names])

    def delete_folder(self, name: str) -> None:
        """Delete a folder and all in it; a missing one is ignored."""
        self._files.delete_folder(_check_name(name))

    def files(self, folder: str = "") -> list[StoredFile]:
        """Return the files beneath a folder, also those of its folders, by name."""
        return self._files.files(_check_name(folder) if folder else "")

    def folders(self, folder: str = "") -> list[str]:
        """Return the names of the folders in a folder."""
        return self._files.folders(_check_name(folder) if folder else "")

    def sweep(self) -> None:
        """Delete temporary files of writers that were killed; needs the lock."""
        if self.path is not None:  # on S3 files appear whole
            sweep(self.path, spare=LOCKS)

    def checksum(self, name: str) -> str:
        """Return the SHA-256 of a file, in hexadecimal; it is read in parts."""
        return self.checksums([name], quiet=True)[name]

    def checksums(self, names: Iterable[str], *, quiet: bool = False) -> dict[str, str]:
        """Return the SHA-256 of files, in hexadecimal, by name; without a progress bar if `quiet`."""
        checksums = {_check_name(name): hashlib.sha256() for name in names}
        for name, checksum in progress(checksums.items(), desc="checksums", unit="file", disable=quiet):
            for chunk in self._files.chunks(name):
                checksum.update(chunk)
        return {name: checksum.hexdigest() for name, checksum in checksums.items()}

    def upload(self, folder: Path, name: str) -> None:
        """Copy a folder of this machine to the folder `name`, replacing its files."""
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        names = [_check_name(f"{name}/{path.relative_to(folder).as_posix()}") for path in files]
        with ThreadPoolExecutor(N_PARALLEL) as pool:
            list(pool.map(self._files.put, files, names))

    def download(self, name: str, to: Path) -> None:
        """Copy the folder `name` to a folder of this machine; StorageError if a file ends early."""
        files = self.files(name)
        if not files:
            msg = f"{self.child(name)!r} has no files; it is no folder of this atlas, or it was deleted."
            raise FileNotFoundError(msg)

        def fetch(file: StoredFile) -> None:
            path = to / file.name.removeprefix(f"{name}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as target:
                n_bytes = sum(target.write(chunk) for chunk in self._files.chunks(file.name))
            if n_bytes != file.n_bytes:
                msg = f"{self.child(file.name)!r} ended after {n_bytes} of {file.n_bytes} bytes; try again."
                raise StorageError(msg)

        with ThreadPoolExecutor(N_PARALLEL) as pool:
            list(pool.map(fetch, files))


def _check_address(text: str) -> str:
    rest = text.removeprefix("s3://").rstrip("/")
    if not rest or any(part in ("", ".", "..") for part in rest.split("/")):
        msg = f"{text!r} is not an address on S3; expected 's3://bucket/name'."
        raise ValueError(msg)
    return f"s3://{rest}"


def _check_name(name: str) -> str:
    # Names also come out of files of the atlas: none may lead out of it.
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name:
        msg = f"Expected the name of a part of the atlas, as 'soma/obs', got {name!r}."
        raise ValueError(msg)
    return name
