"""What goes wrong while an atlas is changed, in one line that says what failed and where."""

from __future__ import annotations

import contextlib
import errno
import os
import re
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


@contextlib.contextmanager
def failure_named(storage: Storage, what: str) -> Iterator[None]:
    """Say of a change that the system refused which one it was, and that the atlas is as it was.

    Parameters
    ----------
    storage
        Files of the atlas.
    what
        What was done to it.

    Raises
    ------
    StorageError
        The disk is full, or refuses.
    """
    try:
        yield
    except tiledbsoma.SOMAError as error:
        code = refused(error)
        raise StorageError(_message(storage, what, cause_of(error), _REMEDIES.get(code or 0, "Try again"))) from error
    except OSError as error:
        if error.errno not in _REMEDIES or isinstance(error, StorageError):
            raise
        where = "" if error.filename is None else f" ({str(error.filename)!r})"
        cause = f"{os.strerror(error.errno)}{where}" if where else str(error.strerror)
        raise StorageError(_message(storage, what, cause, _REMEDIES[error.errno])) from error


def refused(error: Exception) -> int | None:
    """Return the number of the error of the system that TileDB tells of in words, if it does."""
    return next((code for code in _REMEDIES if os.strerror(code) in str(error)), None)


def cause_of(error: Exception) -> str:
    """Return what TileDB says, in one line."""
    return " ".join(_NOISE.sub("", str(error)).split())


def _message(storage: Storage, what: str, cause: str, remedy: str) -> str:
    return f"{what} failed in {storage.uri!r}: {cause}. {remedy}; the atlas is as it was."
