"""Undoing what was never committed. TileDB names each file by its time and writes none twice: so it is deleting."""

from __future__ import annotations

import contextlib
import re
import shutil
from typing import TYPE_CHECKING

from scim.atlas.commit._ledger import LEDGER, SOMA, store_files
from scim.atlas.commit._manifest import COMMITS

if TYPE_CHECKING:
    from pathlib import Path

    from scim.atlas.storage import Storage

NUMBERED = ("index", "names", "removed", "panels", "models", COMMITS, LEDGER)
"""Folders whose entries bear the number of the commit that made them."""

_NUMBER = re.compile(r"v?(\d+)(-\d+)?(\.\w+)?")


def uncommitted(storage: Storage, timestamp: int, number: int) -> tuple[list[str], list[str]]:
    """Return the files of the store that are later than a SOMA time, and what later commits than `number` own."""
    files = [file for file in store_files(storage) if file.timestamp > timestamp]
    # What makes data visible goes first: a roll back that is cut off leaves data that nobody reads, never half of it.
    files.sort(key=lambda file: (not file.name.endswith((".wrt", ".del")), "/__group/" not in file.name))
    return [file.name for file in files], [name for folder in NUMBERED for name in _later(storage, folder, number)]


def roll_back(storage: Storage, timestamp: int, number: int) -> int:
    """Remove what was written after a SOMA time, and what later commits than `number` would have owned.

    Returns
    -------
    How many files of the store it was.
    """
    files, others = uncommitted(storage, timestamp, number)
    storage.delete(files)
    if storage.path is not None:
        _drop_empty(storage.path, files)
    folders = {f"{folder}/{name}" for folder in NUMBERED for name in storage.folders(folder)}
    for name in others:
        if name in folders:
            storage.delete_folder(name)
    storage.delete(name for name in others if name not in folders)
    return len(files)


def _later(storage: Storage, folder: str, number: int) -> list[str]:
    names = {file.name.split("/")[1] for file in storage.files(folder)} | set(storage.folders(folder))
    found = {name: _NUMBER.fullmatch(name) for name in names}
    made_later = {name for name, match in found.items() if match is not None and int(match[1]) > number}
    return [f"{folder}/{name}" for name in sorted(made_later | {name for name in names if name.startswith(".")})]


def _drop_empty(root: Path, files: list[str]) -> None:
    """Remove the folders of fragments that are gone, and of arrays of which nothing is left."""
    for folder in {(root / name).parent for name in files}:
        if folder.name.startswith("__") and folder.parent.name == "__fragments":
            with contextlib.suppress(OSError):
                folder.rmdir()
    for schema in list((root / SOMA).rglob("__schema")):
        if not any(path.is_file() for path in schema.parent.rglob("*")):
            shutil.rmtree(schema.parent, ignore_errors=True)
