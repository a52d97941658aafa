"""Tokens: the same input with the same arguments has the same token, so that one who tries again is recognised."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def token_of(data: Any, **arguments: object) -> str | None:
    """Return what says that the same files came again, with the same arguments; `None` for what is in memory.

    Parameters
    ----------
    data
        Path of a file or folder; contents are not read: names, sizes and times of change of its files count.
    **arguments
        What else makes it the same: texts, numbers, lists of these, `None`.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    """
    if not isinstance(data, str | os.PathLike):
        return None
    path = Path(data).expanduser().resolve()
    files = sorted(_files(path, "")) if path.is_dir() else [("", *_facts(path.stat()))]
    return digest(str(path), files, arguments)


def digest(*parts: object) -> str:
    """Return the sha256 of values that JSON can write."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                yield (prefix + entry.name, *_facts(entry.stat()))


def _facts(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns
