"""The files of one atlas."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from scim._core.errors import StorageError
from scim.atlas.storage._local import LocalFiles, sweep

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scim.atlas.storage._files import Files, StoredFile

N_PARALLEL = 8

LOCKS = "lock"
"""Folder of the claims of writers."""


class Storage:
    """The files of one atlas, in a folder or under a prefix of a bucket.

    Names of files are relative to the atlas, with `/`. What goes wrong in a folder is the `OSError` of Python;
    what goes wrong on S3 is a `StorageError` that says what was tried.

    Attributes
    ----------
    uri
        The absolute path, or `"s3://bucket/prefix"`; never with a slash at its end.
    path
        The folder; `None` on S3.
    """

    def __init__(self, uri: str, path: Path | None) -> None:
        self.uri = uri
        self.path = path

    def __repr__(self) -> str:
        return f"Storage({self.uri!r})"

    @classmethod
    def of(cls, uri: str | os.PathLike[str]) -> Storage:
        """Return the storage at a path or an address; nothing is read or made.

        Raises
        ------
        TypeError, ValueError
            It is neither a path nor an address on S3.
        """
        if not isinstance(uri, str | os.PathLike):
            msg = f"Expected the folder of an atlas or an address as 's3://bucket/name', got {type(uri).__name__}."
            raise TypeError(msg)
        text = os.fspath(uri)
        if not text:
            msg = "Expected the folder of an atlas or an address as 's3://bucket/name', got an empty text."
            raise ValueError(msg)
        if "://" not in text:
            path = Path(text).expanduser().resolve()  # TileDB takes a relative path from where the process started
            return cls(str(path), path)
        return cls(_check_address(text), None)

    @cached_property
    def _files(self) -> Files:
        if self.path is not None:
            return LocalFiles(self.path)
        from scim.atlas.storage._s3 import S3Files  # noqa: PLC0415  (those who read a folder need no S3)

        return S3Files(self.uri.removeprefix("s3://"))

    def child(self, name: str) -> str:
        """Return the address of a part, as TileDB takes it."""
        return f"{self.uri}/{_check_name(name)}"

    def tiledb_config(self) -> dict[str, str]:
        """Return the options with which TileDB reaches this storage, from `scim.settings.storage`."""
        if self.path is not None:
            return {}
        from scim.atlas.storage._s3 import tiledb_config  # noqa: PLC0415  (as above)

        return tiledb_config()

    def exists(self, name: str) -> bool:
        """Return whether there is a file or folder of that name."""
        return self._files.exists(_check_name(name))

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises
        ------
        FileNotFoundError
            There is none.
        """
        return self._files.read(_check_name(name))

    def write(self, name: str, content: bytes, *, new: bool = False) -> None:
        """Write a file whole or not at all, replacing what was there.

        Parameters
        ----------
        name
            Its name.
        content
            What it is to hold.
        new
            Whether to refuse to replace a file. In a folder two writers at once are told apart;
            on S3, which is asked first, only those that hold the lock are.

        Raises
        ------
        FileExistsError
            `new` is true and there is a file.
        """
        self._files.write(_check_name(name), content, new=new)

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; those that are not there are fine."""
        self._files.delete([_check_name(name) for name in names])

    def delete_folder(self, name: str) -> None:
        """Delete a folder and all in it; it need not be there."""
        self._files.delete_folder(_check_name(name))

    def files(self, folder: str = "") -> list[StoredFile]:
        """Return the files beneath a folder, also those of its folders, by name."""
        return self._files.files(_check_name(folder) if folder else "")

    def folders(self, folder: str = "") -> list[str]:
        """Return the names of the folders in a folder."""
        return self._files.folders(_check_name(folder) if folder else "")

    def sweep(self) -> None:
        """Delete what writers that were killed had begun to write; for who holds the lock."""
        if self.path is not None:  # on S3 files appear whole
            sweep(self.path, spare=LOCKS)

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a file, in hexadecimal; it is read in parts."""
        digest = hashlib.sha256()
        for chunk in self._files.chunks(_check_name(name)):
            digest.update(chunk)
        return digest.hexdigest()

    def upload(self, folder: Path, name: str) -> None:
        """Copy what is in a folder of this machine to the folder `name`, over what is there."""
        _check_name(name)
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        with ThreadPoolExecutor(N_PARALLEL) as pool:
            names = [f"{name}/{path.relative_to(folder).as_posix()}" for path in files]
            list(pool.map(self._files.put, files, names))

    def download(self, name: str, to: Path) -> None:
        """Copy the folder `name` to a folder of this machine.

        Raises
        ------
        FileNotFoundError
            There is nothing of that name.
        StorageError
            A file is not as long as the storage said.
        """
        files = self.files(name)
        if not files:
            msg = f"{self.child(name)!r} has no files; it is no folder of this atlas, or it was deleted."
            raise FileNotFoundError(msg)
        with ThreadPoolExecutor(N_PARALLEL) as pool:
            list(pool.map(lambda file: self._fetch(file, to / file.name.removeprefix(f"{name}/")), files))

    def _fetch(self, file: StoredFile, to: Path) -> None:
        to.parent.mkdir(parents=True, exist_ok=True)
        with to.open("wb") as target:
            n_bytes = sum(target.write(chunk) for chunk in self._files.chunks(file.name))
        if n_bytes != file.n_bytes:
            msg = f"{self.child(file.name)!r} ended after {n_bytes} of {file.n_bytes} bytes; try again."
            raise StorageError(msg)


def _check_address(text: str) -> str:
    scheme, _, rest = text.partition("://")
    if scheme != "s3":
        msg = f"{text!r} cannot be reached: known are folders and 's3://bucket/name', got {scheme!r}."
        raise ValueError(msg)
    rest = rest.rstrip("/")
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
