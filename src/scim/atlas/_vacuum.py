"""Deleting what only earlier versions need."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from scim._core.log import logger
from scim.atlas.commit import COMMITS, LEDGER, SOMA, store_files
from scim.atlas.soma import OBSM_PATH, embedding_path

if TYPE_CHECKING:
    from scim.atlas.commit import Manifest, Space, Transaction
    from scim.atlas.storage import Storage


def vacuum(transaction: Transaction) -> tuple[Manifest, int]:
    """Commit a state that nothing before it is needed for, and delete that; return it and the bytes freed."""
    storage = transaction.storage
    before = sum(file.n_bytes for file in storage.files())
    manifest = transaction.commit()
    # From here on a crash leaves too much, never too little: the next vacuum takes it.
    needed = _needed(manifest)
    storage.delete(
        [
            file.name
            for folder in ("names", "removed", "panels", COMMITS, LEDGER)
            for file in storage.files(folder)
            if file.name not in needed
        ]
    )
    for folder in ("index", "models"):
        for name in storage.folders(folder):
            if f"{folder}/{name}" not in needed:
                storage.delete_folder(f"{folder}/{name}")
    if "model" not in needed:
        storage.delete_folder("model")
    _drop_embeddings(storage, manifest)
    storage.delete([file.name for file in store_files(storage) if file.is_superfluous(manifest.base)])
    _drop_empty_fragments(storage)
    freed = before - sum(file.n_bytes for file in storage.files())
    logger.info("vacuumed the atlas: %.1f MB freed", freed / 1e6)
    return manifest, freed


def _needed(manifest: Manifest) -> set[str]:
    """Return the names of files and folders that a manifest speaks of, and its own."""
    spaces = _spaces(manifest)
    return {
        f"{COMMITS}/{manifest.number:06d}.json",
        manifest.ledger.name,
        *(entry.name for entry in manifest.names),
        *(cells.panel.name for cells in manifest.counted),
        *([] if manifest.removed is None else [manifest.removed.name]),
        *(space.folder for space in spaces if space.folder is not None),
        *(part.folder for space in spaces if space.index is not None for part in space.index.parts),
    }


def _spaces(manifest: Manifest) -> list[Space]:
    return [space for space in (manifest.space, manifest.draft) if space is not None]


def _drop_embeddings(storage: Storage, manifest: Manifest) -> None:
    """Delete the arrays of embeddings that were replaced; their group has forgotten them."""
    kept = {f"{SOMA}/{embedding_path(space.embedding)}" for space in _spaces(manifest)}
    names = {"/".join(file.name.split("/")[:5]) for file in storage.files(f"{SOMA}/{OBSM_PATH}")}
    for name in sorted(names - kept):
        if not name.rpartition("/")[2].startswith("__"):
            storage.delete_folder(name)


def _drop_empty_fragments(storage: Storage) -> None:
    if storage.path is None:
        return
    for folder in (storage.path / SOMA).rglob("__fragments/*"):
        if not any(folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)
