"""Changes of stored cells: removal, another embedding of all, compaction; and deletion of earlier versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from scim._core import check_flags, keys, logger, progress
from scim.atlas._index import build_entry
from scim.atlas._models import save_model
from scim.atlas._names import hash_names, write_names
from scim.atlas._samples import without_removed
from scim.atlas.commit import (
    COMMITS,
    INVENTORY,
    SOMA,
    EmbeddingVersion,
    commit_file,
    load_ids,
    store_array,
    store_files,
)
from scim.atlas.soma import (
    COUNTS_PATH,
    MEASUREMENT,
    OBSM_PATH,
    VAR_PATH,
    IntegrityChecker,
    Writer,
    embedding_path,
    obs_columns,
    open_experiment,
    read_counts,
    read_embeddings,
)
from scim.atlas.storage import NUMBERED, is_ours, number_of
from scim.pp import Counts, match_genes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scim.atlas.commit import Manifest, Transaction
    from scim.atlas.storage import Storage
    from scim.model import Model

_REEMBED_ROWS = 16_384
_OBS_ROWS, _EMBEDDING_ROWS, _COUNT_ROWS = 1_048_576, 262_144, 32_768


def remove(transaction: Transaction, ids: NDArray[np.int64], removed: NDArray[np.int64]) -> Manifest:
    """Remove the cells `removed` from those of `ids`, and commit.

    Embeddings stay on disk, unread: a dense array has no holes. Compaction overwrites them.
    """
    manifest = transaction.manifest
    counted = [removed[cells.among(removed)] for cells in manifest.counted]
    Writer(transaction).delete(removed, np.concatenate([removed[:0], *counted]))
    left = np.setdiff1d(ids, removed, assume_unique=True)
    absent = np.setdiff1d(np.arange(manifest.n_rows), left, assume_unique=True)
    stored = store_array(transaction.storage, f"removed/{transaction.number:06d}.npy", absent)
    logger.info("removed %d cells; the atlas has %d", len(removed), len(left))
    return transaction.commit(n_obs=len(left), removed=stored)


def reembed(transaction: Transaction, model: Model, ids: NDArray[np.int64]) -> Manifest:
    """Embed the cells that the draft of this model lacks, build its index, and commit the draft."""
    manifest, storage = transaction.manifest, transaction.storage
    if manifest.published.model == model.uid:
        msg = f"The atlas is embedded with model {model.uid} already."
        raise ValueError(msg)
    if n_without := len(ids) - sum(len(ids[cells.among(ids)]) for cells in manifest.counted):
        msg = f"The counts of {n_without:,} of {len(ids):,} cells are not stored (append with counts=True "
        msg += "stores them); make a new atlas with this model and append the data again."
        raise ValueError(msg)
    integrity = IntegrityChecker(storage, manifest)
    integrity.check(COUNTS_PATH)
    integrity.check(VAR_PATH)
    writer, draft = Writer(transaction), manifest.draft
    if draft is None or draft.model != model.uid:
        name = f"{keys.EMBEDDING}_{transaction.number:06d}"
        draft = EmbeddingVersion(name, model.latent_dim, 0, model.uid, f"models/{transaction.number:06d}")
        if transaction.n_done == 0:
            writer.add_embedding(name, manifest.n_rows, model.latent_dim)
    else:
        writer.grow(manifest.n_rows, draft.name)
    if draft.folder is not None and draft.n_rows == 0:
        save_model(storage, model, draft.folder)
    _embed(transaction, writer, model, draft)
    draft = replace(draft, n_rows=manifest.n_rows, index=None)
    if (old := manifest.published.index) is not None:
        draft = replace(draft, index=build_entry(transaction, draft, kind=old.kind, recall=old.recall))
    return transaction.commit(draft=draft)


def _embed(transaction: Transaction, writer: Writer, model: Model, draft: EmbeddingVersion) -> None:
    manifest, done = transaction.manifest, max(draft.n_rows, transaction.n_done)
    with (
        open_experiment(transaction.storage, at=manifest.timestamp) as experiment,
        progress(total=manifest.n_rows, initial=done, desc="embed", unit="cell") as bar,
    ):
        var = experiment.ms[MEASUREMENT].var.read().concat().to_pandas().set_index("gene_id")
        genes = match_genes(var, model.genes)
        for cells in manifest.counted:
            panel = genes.columns[load_ids(transaction.storage, cells.panel, len(genes.columns))]
            observed = np.zeros_like(genes.observed)
            observed[panel[panel >= 0]] = True
            for start in range(max(cells.start, done), cells.stop, _REEMBED_ROWS):
                stop = min(start + _REEMBED_ROWS, cells.stop)
                block = Counts(read_counts(experiment, start, stop), var, "X", "counts")
                rows = model.embed(block, genes._replace(observed=observed), quiet=True)
                writer.block(np.arange(start, stop), embedding=(draft.name, rows))
                transaction.reached(stop)
                bar.update(stop - start)


def publish(transaction: Transaction) -> Manifest:
    """Replace the published embedding by the draft, and commit."""
    manifest, draft = transaction.manifest, transaction.manifest.draft
    if draft is None:
        msg = "The atlas has no draft; reembed(model, publish=False) makes one."
        raise ValueError(msg)
    if draft.n_rows != manifest.n_rows or (draft.index is not None and draft.index.n_rows != manifest.n_rows):
        msg = f"The draft has {draft.n_rows:,} of {manifest.n_rows:,} cells: cells were appended since. "
        msg += "Call reembed with its model again."
        raise ValueError(msg)
    Writer(transaction).drop_embedding(manifest.published.name)
    logger.info("published the embedding of model %s", draft.model)
    return transaction.commit(published=draft, draft=None)


def compact(transaction: Transaction, ids: NDArray[np.int64], *, samples: bool) -> Manifest:
    """Write the cells of `ids` again in few large fragments, build their index, and commit; with or without samples."""
    check_flags(samples=samples)
    manifest, storage = transaction.manifest, transaction.storage
    if len(ids) == 0:
        msg = f"The atlas at {storage.uri!r} has no cells; there is nothing to compact."
        raise ValueError(msg)
    arrays = ["obs", *(embedding_path(embedding.name) for embedding in manifest.embeddings)]
    arrays += [COUNTS_PATH] if manifest.counted else []
    integrity = IntegrityChecker(storage, manifest)
    for array in arrays:
        integrity.check(array, later_columns=True)
    writer, base = Writer(transaction), transaction.tick()
    with (
        open_experiment(storage, at=manifest.timestamp) as experiment,
        progress(total=manifest.n_rows * len(arrays), desc="compact", unit="row") as bar,
    ):
        names = _copy_obs(transaction, writer, experiment, bar)
        for embedding in manifest.embeddings:
            for start, stop in _ranges(transaction, embedding.n_rows, _EMBEDDING_ROWS, bar):
                live = ids[np.searchsorted(ids, start) : np.searchsorted(ids, stop)]
                rows = np.zeros((stop - start, embedding.dim), dtype=np.float32)  # zero for removed cells
                rows[live - start] = read_embeddings(experiment, embedding.name, live)
                writer.block(np.arange(start, stop), embedding=(embedding.name, rows))
        if manifest.counted:
            for start, stop in _ranges(transaction, manifest.n_rows, _COUNT_ROWS, bar):
                writer.block(np.arange(start, stop), counts=read_counts(experiment, start, stop))
    published = manifest.published
    if (old := published.index) is not None:
        index = build_entry(transaction, published, kind=old.kind, recall=old.recall, measured=old)
        published = replace(published, index=index)
    hashes, named_ids = (np.concatenate(part) for part in zip(*names, strict=True))
    written = write_names(storage, hashes, named_ids, transaction.number)
    present = np.zeros(manifest.n_rows, dtype=np.bool_)
    present[ids] = True
    kept = without_removed(storage, manifest.samples if samples else (), present, transaction.number)
    return transaction.commit(published=published, names=(written,), base=base, samples=kept)


def _copy_obs(
    transaction: Transaction, writer: Writer, experiment: Any, bar: Any
) -> list[tuple[NDArray[np.uint64], NDArray[np.uint64]]]:
    """Write obs again; return hashes of the names and ids, by block."""
    names = []
    for start, stop in _ranges(transaction, transaction.manifest.n_rows, _OBS_ROWS, bar):
        table = experiment.obs.read((slice(start, stop - 1),)).concat().sort_by("soma_joinid")
        ids = table["soma_joinid"].to_numpy()
        if len(ids):
            writer.block(ids, obs={name: table[name].combine_chunks() for name in obs_columns(experiment)})
            frame = table.select([keys.ATLAS_STUDY, keys.ATLAS_CELL_ID]).to_pandas()
            names.append((hash_names(frame), ids.astype(np.uint64)))
    return names


def _ranges(transaction: Transaction, n_rows: int, step: int, bar: Any) -> Iterator[tuple[int, int]]:
    """Yield ranges of ids; check the lock after each."""
    for start in range(0, n_rows, step):
        stop = min(start + step, n_rows)
        yield start, stop
        transaction.check()
        bar.update(stop - start)


def vacuum(transaction: Transaction) -> tuple[Manifest, int]:
    """Commit, and delete the files that only earlier commits need; return the commit and the bytes freed."""
    storage = transaction.storage
    before = sum(file.n_bytes for file in storage.files())
    manifest = transaction.commit()
    # From here on a crash leaves too much, never too little: the next vacuum deletes it.
    needed = _needed(manifest)
    listed = [file.name for folder in NUMBERED for file in storage.files(folder)]
    single = [name for name in listed if name.count("/") == 1 and is_ours(name) and name not in needed]
    # Without its manifest and inventory an earlier version is gone, and what else it needed is no damage.
    storage.delete(sorted(single, key=lambda name: not name.startswith((f"{COMMITS}/", f"{INVENTORY}/"))))
    for name in (f"{folder}/{name}" for folder in NUMBERED for name in storage.folders(folder)):
        if number_of(name) >= 0 and name not in needed:
            storage.delete_folder(name)
    if "model" not in needed:
        storage.delete_folder("model")
    _drop_embeddings(storage, manifest)
    superfluous = [file.name for file in store_files(storage) if file.is_superfluous(manifest.base)]
    storage.delete(name for name in superfluous if is_ours(name))
    storage.drop_empty(SOMA)
    freed = before - sum(file.n_bytes for file in storage.files())
    logger.info("vacuumed the atlas: %.1f MB freed", freed / 1e6)
    return manifest, freed


def _needed(manifest: Manifest) -> set[str]:
    """Return the names of the files and folders of a commit beside the store."""
    embeddings = manifest.embeddings
    return {
        commit_file(manifest.number),
        manifest.inventory.name,
        *(entry.name for entry in manifest.names),
        *(cells.panel.name for cells in manifest.counted),
        *(sample.name for sample in manifest.samples),
        *(entry.name for embedding in embeddings if (entry := embedding.expression) is not None),
        *([] if manifest.removed is None else [manifest.removed.name]),
        *(embedding.folder for embedding in embeddings if embedding.folder is not None),
        *(part.folder for embedding in embeddings if embedding.index is not None for part in embedding.index.parts),
    }


def _drop_embeddings(storage: Storage, manifest: Manifest) -> None:
    """Delete the arrays of embeddings that were replaced."""
    kept = {f"{SOMA}/{embedding_path(embedding.name)}" for embedding in manifest.embeddings}
    names = {"/".join(file.name.split("/")[:5]) for file in storage.files(f"{SOMA}/{OBSM_PATH}")}
    for name in sorted(names - kept):
        if not name.rpartition("/")[2].startswith("__"):
            storage.delete_folder(name)
