"""What goes wrong while an atlas is changed, in one line that says what failed and where."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from typing import TYPE_CHECKING

import tiledbsoma

from scim._core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scim.atlas.storage import Storage

_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Make room there and try again"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "See to it that you may write there"),
    **dict.fromkeys((errno.EIO, errno.EMFILE, errno.ENFILE), "Try again"),
}
"""What to do about what the system refuses. Other errors have more to say themselves, as a lock that is held."""

_NOISE = re.compile(r"\[\w+::\w+\] (Error: )?|Caught std::exception: |Error: (?=IO Error)")


def tiledb_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return what tiledbsoma raises when TileDB fails, and other errors beside."""
    # Errors of its C++ part are RuntimeErrors, until anybody imports the package tiledb, which makes them its own.
    beside = sys.modules.get("tiledb")
    return (*others, tiledbsoma.SOMAError, RuntimeError, *((beside.TileDBError,) if beside is not None else ()))


@contextlib.contextmanager
def failure_named(storage: Storage, what: str, *, outcome: str = "the atlas is as it was") -> Iterator[None]:
    """Say of what the system refused what it was for and where, and what is left.

    Parameters
    ----------
    storage
        Files of the atlas.
    what
        What was done to it.
    outcome
        What is left.

    Raises
    ------
    StorageError
        The disk is full, or refuses.
    """
    try:
        yield
    except Exception as error:
        code = refused(error)
        if (code is None and not isinstance(error, tiledbsoma.SOMAError)) or isinstance(error, StorageError):
            raise
        remedy = _REMEDIES.get(code or 0, "Try again")
        msg = f"{what} failed in {storage.uri!r}: {cause_of(error)}. {remedy}; {outcome}."
        raise StorageError(msg) from error


def refused(error: Exception) -> int | None:
    """Return the number of the error of the system that an error is; TileDB and safetensors tell of it in words."""
    if isinstance(error, OSError):
        return error.errno if error.errno in _REMEDIES else None
    if isinstance(error, ValueError | LookupError | TypeError):  # our own words, or those of a user
        return None
    return next((code for code in _REMEDIES if os.strerror(code) in str(error)), None)


def cause_of(error: Exception) -> str:
    """Return what went wrong and where, in one line."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror} ({str(error.filename2 or error.filename)!r})"
    said = str(error.strerror) if isinstance(error, OSError) and error.strerror else _NOISE.sub("", str(error))
    return " ".join(said.split())
