"""npy files that stay mapped, and whether another program has written into them since."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import FormatError
from scim.io._npy import map_opened
from scim.io._open import open_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_INTERVAL = 2e-3
"""Seconds between two looks at the files: one costs up to 20 µs, a hundredth of it."""


class MappedFiles:
    """npy files that are mapped, and what they were like when they were opened.

    A file that is written in place while it is mapped changes results, and one that gets shorter ends the process at
    the next read behind its end. scim writes new files only, and one that is deleted, or replaced by another of its
    name, stays as it was for processes that have mapped it. For other programs :meth:`check` looks at size and time of
    change. It cannot see what changes less than 2 ms after the last look, or while the arrays are read.
    """

    def __init__(self) -> None:
        self._opened: list[tuple[str, os.stat_result]] = []
        self._due = 0.0

    def map(self, path: Path) -> NDArray[Any]:
        """Map a file, copy on write; errors as of :func:`scim.io.map_npy`."""
        with open_file(path) as file:
            array = map_opened(file, str(path), "c")
            self._opened.append((str(path), os.fstat(file.fileno())))
        return np.asarray(array)

    def check(self) -> None:
        """Raise FormatError if a file was written into since it was mapped."""
        if time.monotonic() < self._due:
            return
        for path, before in self._opened:
            try:
                now = os.stat(path)  # noqa: PTH116  (called for each query)
            except OSError:
                continue  # deleted, or replaced below: what is mapped stays
            is_same_file = now.st_ino == before.st_ino and now.st_dev == before.st_dev
            if is_same_file and (now.st_mtime_ns != before.st_mtime_ns or now.st_size != before.st_size):
                msg = f"{path!r} was written into by another program while it was open: results would be wrong. "
                msg += "Open it again, and replace such files by new ones instead of writing into them."
                raise FormatError(msg)
        self._due = time.monotonic() + _INTERVAL
