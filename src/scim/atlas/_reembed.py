"""Another embedding of all cells: a draft beside the published one, until it takes its place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scim._core import keys
from scim._core.log import logger, progress
from scim.atlas._build import build_entry
from scim.atlas._models import save_model
from scim.atlas.commit import Space, load_array
from scim.atlas.soma import (
    COUNTS_PATH,
    MEASUREMENT,
    VAR_PATH,
    Guard,
    Writer,
    damage_named,
    open_experiment,
    read_counts,
)
from scim.pp import Counts, match_genes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.atlas.commit import Manifest, Transaction
    from scim.model import Model

_ROWS = 16_384


def embed_all(transaction: Transaction, model: Model, ids: NDArray[np.int64]) -> Manifest:
    """Embed the cells of `ids` that the draft of this model has not yet, build its index, and commit the draft."""
    manifest, storage = transaction.manifest, transaction.storage
    _check(manifest, model, ids)
    guard = Guard(storage, manifest)
    guard.check(COUNTS_PATH)
    guard.check(VAR_PATH)
    writer, draft = Writer(transaction), manifest.draft
    if draft is None or draft.model != model.uid:
        name = f"{keys.EMBEDDING}_{transaction.number:06d}"
        draft = Space(name, model.latent_dim, 0, model.uid, f"models/{transaction.number:06d}")
        if transaction.n_done == 0:
            writer.add_embedding(name, manifest.n_rows, model.latent_dim)
    else:
        writer.grow(manifest.n_rows, draft.embedding)
    if draft.folder is not None and draft.n_rows == 0:
        save_model(storage, model, draft.folder)
    _embed(transaction, writer, model, draft)
    draft = replace(draft, n_rows=manifest.n_rows, index=None)
    old = manifest.space.index
    if old is not None:
        draft = replace(draft, index=build_entry(transaction, draft, kind=old.kind, recall=old.recall))
    return transaction.commit(draft=draft)


def publish(transaction: Transaction) -> Manifest:
    """Let the draft take the place of the published space, and commit."""
    manifest = transaction.manifest
    draft = manifest.draft
    if draft is None:
        msg = "The atlas has no draft; reembed(model, publish=False) makes one."
        raise ValueError(msg)
    if draft.n_rows != manifest.n_rows or (draft.index is not None and draft.index.n_rows != manifest.n_rows):
        msg = (
            f"The draft has {draft.n_rows:,} of {manifest.n_rows:,} cells: others were appended since. "
            "Call reembed with its model again."
        )
        raise ValueError(msg)
    Writer(transaction).drop_embedding(manifest.space.embedding)
    logger.info("published the embedding of model %s", draft.model)
    return transaction.commit(space=draft, draft=None)


def _check(manifest: Manifest, model: Model, ids: NDArray[np.int64]) -> None:
    if manifest.space.model == model.uid:
        msg = f"The atlas is embedded with model {model.uid} already."
        raise ValueError(msg)
    n_without = len(ids) - sum(len(ids[cells.among(ids)]) for cells in manifest.counted)
    if n_without:
        msg = (
            f"The counts of {n_without:,} of {len(ids):,} cells are not stored (append with counts=True "
            "stores them); make a new atlas with this model and append the data again."
        )
        raise ValueError(msg)


def _embed(transaction: Transaction, writer: Writer, model: Model, draft: Space) -> None:
    manifest, storage = transaction.manifest, transaction.storage
    done = max(draft.n_rows, transaction.n_done)
    with (
        damage_named(storage),
        open_experiment(storage, at=manifest.timestamp) as experiment,
        progress(total=manifest.n_rows, initial=done, desc="embed", unit="cell") as bar,
    ):
        var = experiment.ms[MEASUREMENT].var.read().concat().to_pandas().set_index("gene_id")
        genes = match_genes(var, model.genes)
        for cells in manifest.counted:
            panel = genes.columns[load_array(storage, cells.panel)]
            observed = np.zeros_like(genes.observed)
            observed[panel[panel >= 0]] = True
            for start in range(max(cells.start, done), cells.stop, _ROWS):
                stop = min(start + _ROWS, cells.stop)
                block = Counts(read_counts(experiment, start, stop), var, "X", "counts")
                rows = model.embed(block, genes._replace(observed=observed), quiet=True)
                writer.block(np.arange(start, stop), embedding=(draft.embedding, rows))
                transaction.reached(stop)
                bar.update(stop - start)
