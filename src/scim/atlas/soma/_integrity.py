"""Damage of the store: checks of an array before it is first read, and errors of TileDB in one line."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

import tiledbsoma

from scim._core import FormatError, StorageError, keys
from scim.atlas.commit import SOMA, Inventory, committed_sizes, read_inventory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scim.atlas.commit import Manifest
    from scim.atlas.storage import Storage, StoredFile

# Files that TileDB reads without comparing a checksum of its own.
_SMALL = re.compile(r"/__schema/|/__commits/|/__meta/|/__fragment_metadata\.tdb$")
# The members of groups, the types of groups and arrays, and the columns of obs.
_LAYOUT = re.compile(rf"{SOMA}/((.+/)?(__group|__meta)/|obs/__schema/)")
# The first columns of obs have checksums of TileDB; later ones, added by a change of the schema, have none.
_COLUMN_FILE = re.compile(r"/a(\d+)(_var|_validity)?\.tdb$")

_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Make room there and try again"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Check that you may write there"),
    **dict.fromkeys((errno.EIO, errno.EMFILE, errno.ENFILE), "Try again"),
}
"""Remedies for refusals of the system. Other errors have a better message of their own, as a lock that is held."""

_HALF = re.compile(r"\d+ requested and \d+ written")  # what numpy says of a full disk
_NOISE = re.compile(r"\[\w+::\w+\] (Error: )?|Caught std::exception: |Error: (?=IO Error)")
# Words of TileDB's errors of S3 when the fault is not in the files.
_UNREACHED = re.compile(r"curl|HTTP Response Code: (-1|4\d\d|5\d\d)|timed? ?out|connection", re.IGNORECASE)


class IntegrityChecker:
    """Compares files with the inventory of a commit; raises `FormatError` if one is missing, foreign or changed."""

    def __init__(self, storage: Storage, manifest: Manifest) -> None:
        self._storage, self._manifest = storage, manifest
        self._checked: set[tuple[str, bool]] = set()

    @cached_property
    def inventory(self) -> Inventory:
        """The files of the store at the commit."""
        return read_inventory(self._storage, self._manifest.inventory)

    def check(self, array: str, *, later_columns: bool = False) -> None:
        """Check an array by its path, once; `later_columns` = columns are read that obs did not have from the start."""
        if (array, later_columns) in self._checked:
            return
        self.check_layout()
        listed = self._listed(f"{SOMA}/{array}")
        later = later_columns and array == "obs"
        unprotected = [name for name in listed if _SMALL.search(name) or (later and _is_later_column(name))]
        self._compare(listed, self._storage.files(f"{SOMA}/{array}"), unprotected)
        self._checked.add((array, later_columns))

    def check_layout(self) -> None:
        """Check the files that list the arrays and the columns of obs, once: needed to open the experiment."""
        if ("", False) in self._checked:
            return
        folders = {name.rpartition("/")[0] for name in self.inventory if _LAYOUT.match(name)}
        listed = {name: entry for name, entry in self.inventory.items() if name.rpartition("/")[0] in folders}
        with ThreadPoolExecutor(8) as pool:
            present = [file for files in pool.map(self._storage.files, sorted(folders)) for file in files]
        self._compare(listed, present, listed)
        for name in (name for name in self.inventory if name.endswith("/__tiledb_group.tdb")):
            try:
                self._storage.read(name)  # empty; TileDB would wait for what is written into a pipe
            except FileNotFoundError:
                self._refuse(name, "is missing")
        self._checked.add(("", False))

    def check_model(self, folder: str) -> None:
        """Check the files of a model."""
        listed = self._listed(folder)
        self._compare(listed, [file for file in self._storage.files(folder) if file.name in listed], listed)

    def _listed(self, folder: str) -> Inventory:
        return {name: entry for name, entry in self.inventory.items() if name.startswith(f"{folder}/")}

    def _compare(self, listed: Inventory, files: Iterable[StoredFile], unprotected: Iterable[str]) -> None:
        """Compare names and sizes of files with the inventory, and the content of those that TileDB does not check."""
        sizes = committed_sizes(files, self._manifest)
        for name in sorted(set(listed) - set(sizes)):
            self._refuse(name, "is missing")
        for name in sorted(set(sizes) - set(listed)):
            self._refuse(name, "was never committed")
        for name, (n_bytes, _) in listed.items():
            if sizes[name] != n_bytes:
                self._refuse(name, f"has {sizes[name]} bytes, expected {n_bytes}")
        checksums = {name: checksum for name in unprotected if (checksum := listed[name][1]) is not None}
        for name, found in self._storage.checksums(checksums, quiet=True).items():
            if found != checksums[name]:
                self._refuse(name, "has changed since it was committed")

    def _refuse(self, name: str, problem: str) -> None:
        msg = f"{self._storage.uri}/{name} {problem}. If the atlas was vacuumed since it was opened, open it again; "
        msg += (
            "otherwise it is damaged: scim.atlas.verify() lists the damage; restore the files from a copy of the atlas."
        )
        raise FormatError(msg)


def _is_later_column(name: str) -> bool:
    column = _COLUMN_FILE.search(name)
    return column is not None and int(column[1]) >= len(keys.ATLAS_COLUMNS)


def tiledb_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return the exceptions that tiledbsoma raises when TileDB fails, and other ones."""
    # Errors of its C++ part are RuntimeErrors, until the package tiledb is imported, which makes them its own.
    tiledb = sys.modules.get("tiledb")
    return (*others, tiledbsoma.SOMAError, RuntimeError, *((tiledb.TileDBError,) if tiledb is not None else ()))


@contextlib.contextmanager
def named_damage(storage: Storage) -> Iterator[None]:
    """Raise a failure of TileDB as one with atlas and remedy: `StorageError` of S3, `FormatError` of the files."""
    try:
        yield
    except tiledb_errors() as error:
        if isinstance(error, RuntimeError) and "TileDB" not in str(error):
            raise
        code = _error_number(error)
        if code is not None:  # as no permission: not the file's fault
            raise OSError(code, _cause(error)) from error
        text, where = " ".join(str(error).split()), storage.child(SOMA)
        if storage.path is None and _UNREACHED.search(text):
            msg = f"Could not reach {where!r}: {text}. Check scim.settings.storage."
            raise StorageError(msg) from error
        msg = f"The store in {where!r} cannot be read: {text}. scim.atlas.verify() names what is damaged; "
        msg += "if the atlas was vacuumed since it was opened, open it again."
        raise FormatError(msg) from error


@contextlib.contextmanager
def named_failure(storage: Storage, what: str, *, outcome: str = "the atlas is as it was") -> Iterator[None]:
    """Raise a refusal of the system, as a full disk, as a `StorageError` that names change, place and what is left."""
    try:
        yield
    except Exception as error:
        code = _error_number(error)
        if (code is None and not isinstance(error, tiledbsoma.SOMAError)) or isinstance(error, StorageError):
            raise
        remedy = _REMEDIES.get(code or 0, "Try again")
        msg = f"{what} failed in {storage.uri!r}: {_cause(error)}. {remedy}; {outcome}."
        raise StorageError(msg) from error


def _error_number(error: Exception) -> int | None:
    """Return the number of a system error that has a remedy; TileDB and safetensors have its text only."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in _REMEDIES else None
    if isinstance(error, OSError) and _HALF.search(str(error)):
        return errno.ENOSPC
    if isinstance(error, ValueError | LookupError | TypeError):  # texts of scim, or of a user
        return None
    return next((code for code in _REMEDIES if os.strerror(code) in str(error)), None)


def _cause(error: Exception) -> str:
    """Return the cause and the place of an error, in one line."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror} ({str(error.filename2 or error.filename)!r})"
    text = _NOISE.sub("", str(error))
    if isinstance(error, OSError):  # of numpy and shutil some have no number, and a text that is no sentence
        text = str(error.strerror or os.strerror(_error_number(error) or 0))
    return " ".join(text.split())
