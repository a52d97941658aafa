"""Changing the schema of an array so that nobody ever reads half of one."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from scim.atlas.commit import SOMA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scim.atlas.storage import Storage

_SCHEMA, _META = "__schema", "__meta"


@contextlib.contextmanager
def changed_schema(storage: Storage, path: str) -> Iterator[str]:
    """Yield the address of an array whose schema is to be changed, and of which nothing else is asked.

    Whoever opens an array reads all of its schemas, those of later times too, and TileDB writes one in place: a writer
    that dies in between, or a full disk, would leave an array that cannot be opened at any time. In a folder it is
    therefore a copy without cells that changes, and its new schema moves over in one step. On S3 files appear whole.

    Parameters
    ----------
    storage
        Files of the atlas.
    path
        Path of the array in the experiment.
    """
    if storage.path is None:
        yield storage.child(f"{SOMA}/{path}")
        return
    array = storage.path / SOMA / path
    with tempfile.TemporaryDirectory(dir=storage.path, prefix=".schema-", suffix=".tmp") as room:
        copy = Path(room) / array.name
        shutil.copytree(array / _META, copy / _META)
        (copy / _SCHEMA).mkdir()
        last = max(file for file in (array / _SCHEMA).iterdir() if file.is_file())  # names begin with the time
        shutil.copy(last, copy / _SCHEMA)
        yield str(copy)
        for new in sorted(file for file in (copy / _SCHEMA).iterdir() if file.is_file() and file.name != last.name):
            with new.open("rb+") as file:
                os.fsync(file.fileno())
            new.rename(array / _SCHEMA / new.name)
