"""The files of one atlas."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

from scim._core import FormatError, StorageError, hide_login, progress
from scim.atlas.storage._layout import is_ours
from scim.atlas.storage._local import LocalFiles, abandoned_beside
from scim.io import MOST_JSON, check_name, files_below, inside, local_path, real_path

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from scim.atlas.storage._local import StoredFile
    from scim.atlas.storage._s3 import S3Files

N_PARALLEL = 8
_SPECIAL = "#?\n\r\t"  # TileDB-SOMA takes a path for an address, and reads or leaves out what these begin
_SIGNED = re.compile(r"\?[^/?=]+=")  # an address with a signature, which is a secret, is for one file
_MOST_BYTES = 2 << 30  # of a file that is read whole


class Storage:
    """The files of one atlas, in a folder or under a prefix of a bucket.

    Names of files are relative to the atlas, with `/`. None leads out of it, and only those that scim gives are
    deleted. An error in a folder is Python's `OSError`, an error on S3 a `StorageError` that names what was tried.
    `FormatError` is raised for a link in the folder, what is no file, and names on S3 that no file of an atlas has.
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
        path = real_path(uri, what="an atlas or the address of one, as 's3://bucket/name'")
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
        return f"{self.uri}/{check_name(name)}" if self.path is None else str(inside(self.path, name))

    def tiledb_config(self) -> dict[str, str]:
        """Return the options with which TileDB reaches this storage, from `scim.settings.storage`."""
        return self._files.tiledb_config()

    def exists(self, name: str) -> bool:
        """Return whether there is a file or folder of that name."""
        return self._files.exists(check_name(name))

    def read(self, name: str) -> bytes:
        """Return the content of a file; `FileNotFoundError` if there is none, FormatError if it is far too large."""
        small = name.endswith(".json") and not name.startswith("ledger/")
        return self._files.read(check_name(name), MOST_JSON if small else _MOST_BYTES)

    def write(self, name: str, content: bytes, *, new: bool = False) -> None:
        """Write a file whole or not at all, replacing what was there; with `new` FileExistsError if there is one.

        In a folder `new` also holds for two writers at once; on S3 it needs the lock.
        """
        self._files.write(check_name(name), content, new=new)

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; missing ones are ignored, and FormatError is raised for names that scim does not give."""
        self._files.delete([self._ours(name) for name in names])

    def delete_folder(self, name: str = "") -> None:
        """Delete the files of a folder, or of all, that have names of scim, and the folder unless it has others."""
        self._files.delete_folder(check_name(name) if name else "")

    def sweep_beside(self) -> None:
        """Delete what writers that were killed long ago left beside the folder of the atlas, when they made it."""
        for path in [] if self.path is None else abandoned_beside(self.path):
            Storage(str(path), path).delete_folder()

    def drop_empty(self, folder: str) -> None:
        """Remove the folders of fragments, and of arrays of TileDB, in which no file is left."""
        self._files.drop_empty(check_name(folder))

    def files(self, folder: str = "") -> list[StoredFile]:
        """Return the files beneath a folder, also those of its folders, by name."""
        return self._files.files(check_name(folder) if folder else "")

    def folders(self, folder: str = "") -> list[str]:
        """Return the names of the folders in a folder."""
        return self._files.folders(check_name(folder) if folder else "")

    def check_files(self) -> None:
        """Raise FormatError if there is a link, a pipe or a device anywhere in the folder of the atlas."""
        if self.path is not None:
            for _ in files_below(self.path):
                pass

    def check_room(self, n_bytes: int) -> None:
        """Raise OSError unless the disk has so many bytes left: TileDB may end a process that cannot write."""
        if self.path is not None and (free := shutil.disk_usage(self.path).free) < n_bytes:
            msg = f"{os.strerror(errno.ENOSPC)}: {n_bytes / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB are free"
            raise OSError(errno.ENOSPC, msg)

    def unfinished(self) -> list[str]:
        """Return the names of temporary files and folders of writers that were killed."""
        return self._files.unfinished()

    def sweep(self) -> None:
        """Delete what :meth:`unfinished` returns; needs the lock."""
        self._files.sweep()

    def checksum(self, name: str) -> str:
        """Return the SHA-256 of a file, in hexadecimal; it is read in parts."""
        return self.checksums([name], quiet=True)[name]

    def checksums(self, names: Iterable[str], *, quiet: bool = False) -> dict[str, str]:
        """Return the SHA-256 of files, in hexadecimal, by name; without a progress bar if `quiet`."""
        checksums = {check_name(name): hashlib.sha256() for name in names}
        for name, checksum in progress(checksums.items(), desc="checksums", unit="file", disable=quiet):
            for chunk in self._files.chunks(name):
                checksum.update(chunk)
        return {name: checksum.hexdigest() for name, checksum in checksums.items()}

    def upload(self, folder: Path, name: str) -> None:
        """Copy a folder of this machine to the folder `name`, replacing its files."""
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        names = [check_name(f"{name}/{path.relative_to(folder).as_posix()}") for path in files]
        with ThreadPoolExecutor(N_PARALLEL) as pool:
            list(pool.map(self._files.put, files, names))

    def download(self, name: str, to: Path) -> None:
        """Copy the folder `name` to a folder of this machine, whose files are those that scim writes.

        Raises
        ------
        FormatError
            There is a file of another name, or two would be one here; nothing was copied.
        StorageError
            A file has not as many bytes as the list says.
        """
        files = self.files(name)
        if not files:
            msg = f"{self.child(name)!r} has no files; it is no folder of this atlas, or it was deleted."
            raise FileNotFoundError(msg)
        targets = [inside(to, self._ours(file.name).removeprefix(f"{name}/")) for file in files]
        if len({str(path).casefold() for path in targets}) < len(targets):
            msg = f"{self.child(name)!r} has two files whose names differ in upper and lower case alone."
            raise FormatError(msg)
        with ThreadPoolExecutor(N_PARALLEL) as pool:
            list(pool.map(self._fetch, files, targets))

    def _ours(self, name: str) -> str:
        if not is_ours(check_name(name)):
            msg = f"'{self.uri}/{name}' is not the name of a file of an atlas; move it elsewhere."
            raise FormatError(msg)
        return name

    def _fetch(self, file: StoredFile, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        n_bytes = 0
        with path.open("xb") as target:
            for chunk in self._files.chunks(file.name):
                n_bytes += len(chunk)
                if n_bytes > file.n_bytes:
                    break
                target.write(chunk)
        if n_bytes != file.n_bytes:
            more = "has more than" if n_bytes > file.n_bytes else f"ended after {n_bytes} of"
            msg = f"{self.child(file.name)!r} {more} {file.n_bytes} bytes; try again."
            raise StorageError(msg)


def _check_address(text: str) -> str:
    rest = text.removeprefix("s3://").rstrip("/")
    if "@" in rest.split("/")[0] or ":" in rest.split("/")[0]:  # no bucket has these in its name
        msg = f"{hide_login(text)!r} has credentials; leave out what is before '@' and set AWS_ACCESS_KEY_ID and "
        msg += "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, in the environment."
        raise ValueError(msg)
    if not rest or any(part in ("", ".", "..") for part in rest.split("/")) or _SIGNED.search(rest):
        msg = f"{hide_login(text)!r} is not an address on S3; expected 's3://bucket/name'."
        raise ValueError(msg)
    return f"s3://{rest}"
