"""Files are opened here and nowhere else: regular files only, of which no more is read than they have."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import TYPE_CHECKING

from scim._core import FormatError

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

MOST_BYTES, MOST_JSON = 1 << 31, 64 << 20
"""A file that is read whole, as an inventory, has at most so many bytes; one of JSON fewer: parsed, it takes more."""

_KINDS = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
_KINDS |= {stat.S_IFSOCK: "socket", stat.S_IFLNK: "link"}
# Opening a pipe would wait for a writer. A folder of ours has no links: `links` is for paths that a user typed.
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def open_file(path: str | os.PathLike[str], *, links: bool = False) -> BufferedReader:
    """Open a regular file for reading; with `links`, a link to one too.

    Raises
    ------
    FileNotFoundError
        There is none.
    FormatError
        It is a folder, a pipe, a device, a socket, or a link.
    """
    check_regular(path, links=links)
    flags = _FLAGS | (0 if links else getattr(os, "O_NOFOLLOW", 0))
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _not_regular(path, stat.S_IFLNK) from error
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):  # replaced since it was looked at
        os.close(descriptor)
        raise _not_regular(path, mode)
    return os.fdopen(descriptor, "rb")


def check_regular(path: str | os.PathLike[str], *, links: bool = False) -> int:
    """Return the bytes of a regular file, for libraries that open a path themselves; errors as of :func:`open_file`."""
    found = os.stat(path, follow_symlinks=links)  # noqa: PTH116  (called for each batch of a search)
    if not stat.S_ISREG(found.st_mode):
        raise _not_regular(path, found.st_mode)
    return found.st_size


def read_bytes(path: str | os.PathLike[str], *, most: int = MOST_BYTES, links: bool = False) -> bytes:
    """Return the content of a regular file; FormatError if it has more than `most` bytes."""
    with open_file(path, links=links) as file:
        n_bytes = os.fstat(file.fileno()).st_size
        # Not `most`, which would be allocated first; files of the system, as those of /proc, give 0 as their size.
        content = file.read(min(most, max(n_bytes, 1 << 16)) + 1) if n_bytes <= most else b""
    if n_bytes > most or len(content) > most:
        msg = f"{str(path)!r} has {n_bytes} bytes, expected at most {most}; it is damaged or something else."
        raise FormatError(msg)
    return content


def read_text(path: str | os.PathLike[str], *, most: int = MOST_BYTES, links: bool = False) -> str:
    """Return the content of a text file in UTF-8; FormatError if it is none."""
    try:
        return read_bytes(path, most=most, links=links).decode()
    except UnicodeDecodeError as error:
        msg = f"{str(path)!r} is not text in UTF-8 ({error})."
        raise FormatError(msg) from error


def checksum(path: Path) -> str:
    """Return the SHA-256 of a regular file, in hexadecimal; it is read in parts."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _not_regular(path: str | os.PathLike[str], mode: int) -> FormatError:
    kind = _KINDS.get(stat.S_IFMT(mode), "special file")
    return FormatError(f"{os.fspath(path)!r} is a {kind}, expected a file.")
