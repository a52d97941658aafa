"""The files of the store that a commit needs, and inventories of them with sizes and checksums."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scim._core import FormatError
from scim.atlas.commit._arrays import address, read_stored, restore
from scim.atlas.commit._manifest import Checksum, Count, StoredArray
from scim.io import as_record, flush, parse_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from scim.atlas.commit._manifest import Manifest
    from scim.atlas.storage import Storage, StoredFile

SOMA = "soma"
INVENTORY = "ledger"

_CELLS = re.compile(rf"{SOMA}/(obs|ms/[^/]+/(X|obsm)/[^/]+)/__(fragments|commits)/")
_EMBEDDING = re.compile(rf"{SOMA}/ms/[^/]+/obsm/(?!__)([^/]+)/")
# TileDB names what it writes by the SOMA time and a UUID: `__1700000000000_1700000000000_<uuid>_22.wrt`.
_WRITE = re.compile(r"/__(\d{10,})_\d+_([0-9a-f]+)")
_REMEDY = "the version was vacuumed, or the atlas is damaged: run scim.atlas.verify()."
# Bytes and SHA-256 of each file, by its name relative to the atlas, which the storage checks before it opens one; no
# checksum where the store is remote.
Inventory = dict[str, tuple[Count, Checksum | None]]


@dataclass(frozen=True)
class StoreFile:
    """A file of the store, and the write that made it."""

    name: str
    n_bytes: int
    timestamp: int  # SOMA time of the write; 0: the mark of a group, which is as old as the atlas
    uuid: str  # of the write

    def belongs_to(self, manifest: Manifest) -> bool:
        """Return whether it is part of a commit."""
        array = _EMBEDDING.match(self.name)
        replaced = array is not None and array[1] not in [embedding.name for embedding in manifest.embeddings]
        return self.timestamp <= manifest.timestamp and not replaced and not self.is_superfluous(manifest.base)

    def is_superfluous(self, base: int) -> bool:
        """Return whether a compaction at `base` wrote its whole content again."""
        return self.timestamp < base and _CELLS.match(self.name) is not None


def store_files(storage: Storage, folder: str = SOMA) -> list[StoreFile]:
    """Return the files of the store, of every time, without those that a desktop leaves in folders."""
    return [_store_file(file.name, file.n_bytes) for file in storage.files(folder) if "/." not in file.name]


def _store_file(name: str, n_bytes: int) -> StoreFile:
    write = _WRITE.search(name)
    return StoreFile(name, n_bytes, 0, "") if write is None else StoreFile(name, n_bytes, int(write[1]), write[2])


def needed_files(storage: Storage, manifest: Manifest, files: Iterable[StoreFile] | None = None) -> list[StoreFile]:
    """Return the existing ones of the files that a commit needs: of the store (`files`), and of its models."""
    folders = [embedding.folder for embedding in manifest.embeddings if embedding.folder is not None]
    files = store_files(storage) if files is None else files
    models = [file for folder in folders for file in store_files(storage, folder)]
    return [*(file for file in files if file.belongs_to(manifest)), *models]


def belongs(name: str, manifest: Manifest) -> bool:
    """Return whether a file of the store of that name, if it exists, is part of a commit."""
    return _store_file(name, 0).belongs_to(manifest)


def committed_sizes(files: Iterable[StoredFile], manifest: Manifest) -> dict[str, int]:
    """Return the bytes of the files that are part of a commit, by name."""
    return {file.name: file.n_bytes for file in files if belongs(file.name, manifest)}


def write_inventory(
    storage: Storage, manifest: Manifest, before: Inventory, since: int = -1, files: Iterable[StoreFile] | None = None
) -> StoredArray:
    """Write the inventory of a commit, with checksums of the files that are not in `before`, that of the commit before.

    `FormatError`: a needed file of `before` is missing, or a file appeared at a SOMA time up to that commit, `since`.
    """
    needed = needed_files(storage, manifest, files)
    new = [file for file in needed if file.name not in before]
    present = {file.name for file in needed}
    missing = [name for name in before if name not in present and _is_needed(name, manifest)]
    foreign = [file.name for file in new if before and file.name.startswith(f"{SOMA}/") and file.timestamp <= since]
    for names, problem in ((missing, "missing"), (foreign, "not of this atlas")):
        if names:
            msg = f"{len(names)} files of the atlas at {storage.uri!r} are {problem}, as {names[0]!r}; nothing was "
            msg += "committed. scim.atlas.verify(uri) says what else is damaged."
            raise FormatError(msg)
    if storage.path is not None:
        _flush(storage.path, [file.name for file in new])
    raw = _content(storage, needed, before)
    name = f"{INVENTORY}/{manifest.number:06d}.json"
    storage.write(name, raw)
    return StoredArray(name, hashlib.sha256(raw).hexdigest(), len(needed))


def restore_inventory(storage: Storage, manifest: Manifest) -> bool:
    """Write the inventory of a commit again if it is what was lost: then every file is unchanged, too."""
    return restore(storage, manifest.inventory, _content(storage, needed_files(storage, manifest), {}))


def read_inventory(storage: Storage, entry: StoredArray) -> Inventory:
    """Read an inventory; `FormatError` if it is missing, or not the one that was committed."""
    raw = read_stored(storage, entry, _REMEDY)
    return as_record(parse_object(raw, address(storage, entry)), Inventory, address(storage, entry))


def _content(storage: Storage, files: Sequence[StoreFile], before: Inventory) -> bytes:
    new = [] if storage.path is None else [file.name for file in files if file.name not in before]
    checksums = storage.checksums(new)
    entries = {file.name: before.get(file.name, (file.n_bytes, checksums.get(file.name))) for file in files}
    return json.dumps(dict(sorted(entries.items())), separators=(",", ":")).replace("],", "],\n").encode()


def _is_needed(name: str, manifest: Manifest) -> bool:
    if name.startswith(f"{SOMA}/"):
        return belongs(name, manifest)
    return any(name.rpartition("/")[0] == embedding.folder for embedding in manifest.embeddings)


def _flush(root: Path, names: Iterable[str]) -> None:
    """Bring files to the disk: a commit must not outlive its files when the power fails."""
    files = [root / name for name in names]
    for path in (*files, *{file.parent for file in files}):
        flush(path)
