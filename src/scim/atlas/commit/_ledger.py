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
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from scim.atlas.commit._manifest import Manifest
    from scim.atlas.storage import Storage

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
        """Say whether it is part of a commit; a file that bears no time is."""
        array = _EMBEDDING.match(self.name)
        embeddings = [space.embedding for space in (manifest.space, manifest.draft) if space is not None]
        replaced = array is not None and array[1] not in embeddings
        return self.timestamp <= manifest.timestamp and not replaced and not self.is_superfluous(manifest.base)

    def is_superfluous(self, base: int) -> bool:
        """Say whether a compaction at `base` wrote all that it holds anew."""
        return self.timestamp < base and _CELLS.match(self.name) is not None


def store_files(storage: Storage, folder: str = SOMA) -> list[StoreFile]:
    """Return the files of the store, of every time; not what a desktop leaves in folders that it has shown."""
    return [_stored(file.name, file.n_bytes) for file in storage.files(folder) if "/." not in file.name]


def _stored(name: str, n_bytes: int) -> StoreFile:
    found = _TIME.search(name)
    # What bears no time marks a group, which is as old as the atlas.
    return StoreFile(name, n_bytes, 0 if found is None else int(found[1]))


def needed_files(storage: Storage, manifest: Manifest) -> list[StoreFile]:
    """Return the files that are there of those that a commit needs: of the store, and of its models."""
    spaces = [space for space in (manifest.space, manifest.draft) if space is not None]
    models = [file for space in spaces if space.folder is not None for file in store_files(storage, space.folder)]
    return [*(file for file in store_files(storage) if file.belongs_to(manifest)), *models]


def write_ledger(
    storage: Storage, manifest: Manifest, before: Mapping[str, tuple[int, str | None]], since: int = -1
) -> StoredArray:
    """List the files as a commit needs them, with the checksums of those that are not in `before`.

    Raises
    ------
    FormatError
        One of `before` is missing that is still needed; or one was added by someone else, not later than the SOMA time
        `since`. To list what is there then would be to call damage whole.
    """
    files = needed_files(storage, manifest)
    new = [file for file in files if file.name not in before]
    _refuse_damage(storage, manifest, files, new, before, since)
    if storage.path is not None:
        _flush(storage.path, (file.name for file in new))
    raw = _listed(storage, files, before)
    name = f"{LEDGER}/{manifest.number:06d}.json"
    storage.write(name, raw)
    return StoredArray(name, hashlib.sha256(raw).hexdigest(), len(files))


def restore_ledger(storage: Storage, manifest: Manifest) -> bool:
    """List the files of a commit again; put that in the place of the ledger, if it is what was lost.

    Then every file is what it was, too: the checksum of the ledger covers theirs.
    """
    raw = _listed(storage, needed_files(storage, manifest), {})
    same = hashlib.sha256(raw).hexdigest() == manifest.ledger.sha256
    if same:
        storage.write(manifest.ledger.name, raw)
    return same


def _listed(storage: Storage, files: Sequence[StoreFile], before: Mapping[str, tuple[int, str | None]]) -> bytes:
    entries: Ledger = {file.name: before[file.name] for file in files if file.name in before}
    new = [file for file in files if file.name not in before]
    for file in progress(new, desc="checksums", unit="file"):
        entries[file.name] = (file.n_bytes, None if storage.path is None else storage.digest(file.name))
    return json.dumps(dict(sorted(entries.items())), separators=(",", ":")).replace("],", "],\n").encode()


def _refuse_damage(
    storage: Storage,
    manifest: Manifest,
    files: Sequence[StoreFile],
    new: Sequence[StoreFile],
    before: Mapping[str, tuple[int, str | None]],
    since: int,
) -> None:
    found = {file.name for file in files}
    missing = [name for name in before if name not in found and _is_needed(name, manifest)]
    foreign = [file.name for file in new if before and file.name.startswith(f"{SOMA}/") and file.timestamp <= since]
    for names, problem in ((missing, "missing"), (foreign, "not of this atlas")):
        if names:
            msg = (
                f"{len(names)} files of the atlas at {storage.uri!r} are {problem}, as {names[0]!r}; nothing was "
                "committed. scim.atlas.verify(uri) says what else is damaged."
            )
            raise FormatError(msg)


def _is_needed(name: str, manifest: Manifest) -> bool:
    if not name.startswith(f"{SOMA}/"):
        spaces = (manifest.space, manifest.draft)
        return any(space is not None and name.rpartition("/")[0] == space.folder for space in spaces)
    return belongs(name, manifest)


def belongs(name: str, manifest: Manifest) -> bool:
    """Say whether a file of that name, if there is one, is part of a commit."""
    return _stored(name, 0).belongs_to(manifest)


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
    ledger: Ledger = {name: (int(size), digest) for name, (size, digest) in json.loads(raw).items()}
    return ledger


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
