"""Every file of the store at a commit, with its size and checksum: what is missing, foreign or changed has a name."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scim._core.errors import FormatError
from scim._core.log import progress
from scim.atlas.commit._manifest import StoredArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from scim.atlas.commit._manifest import Manifest
    from scim.atlas.storage import Storage, StoredFile

SOMA = "soma"
LEDGER = "ledger"

_CELLS = re.compile(rf"{SOMA}/(obs|ms/[^/]+/(X|obsm)/[^/]+)/__(fragments|commits)/")
_EMBEDDING = re.compile(rf"{SOMA}/ms/[^/]+/obsm/(?!__)([^/]+)/")
_TIME = re.compile(r"/__(\d{10,})_\d+_")

Ledger = dict[str, tuple[int, str | None]]
"""Bytes and sha256 of each file, by its name relative to the atlas; no checksum where the store is remote."""


@dataclass(frozen=True)
class StoreFile:
    """A file of the store and the SOMA time at which it was written."""

    name: str
    n_bytes: int
    timestamp: int

    def belongs_to(self, manifest: Manifest) -> bool:
        """Say whether it is part of a commit."""
        array = _EMBEDDING.match(self.name)
        embeddings = [space.embedding for space in (manifest.space, manifest.draft) if space is not None]
        replaced = array is not None and array[1] not in embeddings
        return self.timestamp <= manifest.timestamp and not replaced and not self.is_superfluous(manifest.base)

    def is_superfluous(self, base: int) -> bool:
        """Say whether a compaction at `base` wrote all that it holds anew."""
        return self.timestamp < base and _CELLS.match(self.name) is not None


def store_files(storage: Storage, folder: str = SOMA) -> list[StoreFile]:
    """Return the files of the store, of every time."""
    return [_stored(file) for file in storage.files(folder)]


def _stored(file: StoredFile) -> StoreFile:
    found = _TIME.search(file.name)
    # What bears no time marks a group, which is as old as the atlas.
    return StoreFile(file.name, file.n_bytes, 0 if found is None else int(found[1]))


def write_ledger(storage: Storage, manifest: Manifest, before: Mapping[str, tuple[int, str | None]]) -> StoredArray:
    """List the store as a commit needs it, with the checksums of what is new since `before`."""
    files = [file for file in store_files(storage) if file.belongs_to(manifest)]
    new = [file for file in files if file.name not in before]
    if storage.path is not None:
        _flush(storage.path, (file.name for file in new))
    entries: Ledger = {file.name: before[file.name] for file in files if file.name in before}
    for file in progress(new, desc="checksums", unit="file"):
        entries[file.name] = (file.n_bytes, None if storage.path is None else storage.digest(file.name))
    raw = json.dumps(dict(sorted(entries.items())), separators=(",", ":")).replace("],", "],\n").encode()
    name = f"{LEDGER}/{manifest.number:06d}.json"
    storage.write(name, raw)
    return StoredArray(name, hashlib.sha256(raw).hexdigest(), len(entries))


def read_ledger(storage: Storage, entry: StoredArray) -> Ledger:
    """Read a ledger.

    Raises
    ------
    FormatError
        It is missing, or not the one that was committed.
    """
    try:
        raw = storage.read(entry.name)
    except FileNotFoundError as error:
        msg = f"{storage.uri}/{entry.name} is missing: the version was vacuumed, or the atlas is damaged."
        raise FormatError(msg) from error
    if hashlib.sha256(raw).hexdigest() != entry.sha256:
        msg = f"{storage.uri}/{entry.name} was changed since it was written; run scim.atlas.verify()."
        raise FormatError(msg)
    return {name: (int(size), digest) for name, (size, digest) in json.loads(raw).items()}


def _flush(root: Path, names: Iterable[str]) -> None:
    """Bring files to the disk: a commit must not outlive what it speaks of when the power fails."""
    folders = set()
    for name in names:
        _sync(root / name)
        folders.add((root / name).parent)
    for folder in folders:
        if os.name == "posix":  # elsewhere a folder cannot be opened
            _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
