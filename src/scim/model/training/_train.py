"""Training: batches of cells, seen through changing panels, pulled together by type across studies."""

from __future__ import annotations

import dataclasses
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch

from scim._core.checks import check_count
from scim._core.log import logger, progress
from scim._core.settings import settings
from scim.model._config import ModelConfig
from scim.model._model import Model
from scim.model.data._data import combine, gather
from scim.model.net._net import Decoder, Encoder
from scim.model.objectives._loss import l1_loss, prototype_loss, reconstruction_loss, triplet_loss
from scim.model.objectives._mine import mine
from scim.model.training._batches import Batches
from scim.model.training._config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from scim.model.data._data import TrainingCells
    from scim.model.training._batches import Batch

HIDDEN, LATENT, INPUT_DROPOUT, DROPOUT = (256,), 64, 0.0, 0.2
"""The net that `train` makes by default: on some ten thousand cells wider and deeper ones were no better."""

WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""


def train(
    adatas: AnnData | Sequence[AnnData] | Mapping[str, AnnData],
    *,
    label_key: str,
    study_key: str | None = None,
    genes: Sequence[str] | None = None,
    n_genes: int = 2000,
    layer: str | None = None,
    gene_key: str | None = None,
    name: str = "scim model",
    hidden: tuple[int, ...] = HIDDEN,
    latent_dim: int = LATENT,
    config: TrainConfig | None = None,
    rng: int | np.random.Generator | None = None,
) -> Model:
    r"""Learn an embedding in which cells of a type are near each other, whatever study they come from.

    The loss is :math:`w_T \operatorname{mean} \max(\lVert a - p \rVert - \lVert a - n \rVert + m, 0) + w_R
    \operatorname{MSE}` over triplets of an anchor, a positive of its label and a negative of another label that is
    neither ancestor nor descendant of it in the Cell Ontology, after :cite:t:`Heimberg2025`. Cells are seen through
    random gene panels, with counts lost or added, so that the embedding does not depend on them.

    Parameters
    ----------
    adatas
        Labelled cells with counts: one AnnData, several, or several by name. A gene that a data set did not measure
        is unknown there, not zero.
    label_key
        Column of obs with the labels: Cell Ontology ids or names, or free words. Cells without a label are left out.
    study_key
        Column of obs with the study (or donor) of each cell. Default: each AnnData is a study.
    genes
        Genes that the model reads. Default: `n_genes` markers of the labels are chosen.
    n_genes
        How many genes are chosen.
    layer
        Where the counts are; default: wherever they are found.
    gene_key
        Column of var that holds the gene names; default: the index, or the column with most human genes.
    name
        A name for the model.
    hidden
        Widths of the encoder's hidden layers.
    latent_dim
        Length of an embedding.
    config
        How it is trained.
    rng
        Seed or generator. The same seed gives the same model on the same CPU with the same number of threads.

    Returns
    -------
    The trained model.

    Raises
    ------
    KeyError
        A column is missing.
    ValueError
        There is only one label or study, or no two studies share a label.
    CountsError
        A data set has no counts.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> config = scim.model.TrainConfig(n_steps=20, batch_size=64)
    >>> model = scim.model.train(adata, label_key="cell_type", study_key="sample", config=config, rng=0)
    >>> model.labels
    ('B cell', 'T cell', 'classical monocyte')
    """
    started = time.perf_counter()
    config = TrainConfig() if config is None else config
    check_count("n_genes", n_genes)
    sets = gather(adatas, label_key=label_key, study_key=study_key, layer=layer, gene_key=gene_key)
    cells = combine(sets, genes=genes, n_genes=n_genes)
    net = ModelConfig(len(cells.genes), tuple(hidden), latent_dim, input_dropout=INPUT_DROPOUT, dropout=DROPOUT)
    encoder, decoder = fit(cells, net, config, np.random.default_rng(rng))
    seconds = time.perf_counter() - started
    logger.info("trained on %d cells, %d labels, %d studies in %.0f s", *_size(cells), seconds)
    return Model(
        net,
        cells.genes,
        cells.labels,
        encoder,
        decoder if config.reconstruction_weight > 0 else None,
        name=name,
        metadata=_metadata(cells, config),
    )


def fit(
    cells: TrainingCells, net: ModelConfig, config: TrainConfig, random: np.random.Generator
) -> tuple[Encoder, Decoder]:
    """Train an encoder and a decoder on prepared cells."""
    generator = torch.Generator().manual_seed(int(random.integers(2**62)))
    encoder, decoder = Encoder(net, generator).train(), Decoder(net, generator).train()
    prototypes = torch.randn(len(cells.labels.names), net.latent_dim, generator=generator).requires_grad_()
    parameters = [*encoder.parameters(), *decoder.parameters(), prototypes]
    optimizer = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
    # Besides the rate, the momentum of AdamW falls to 0.85 and comes back: on studies left out better than without.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.lr, total_steps=config.n_steps + 1, pct_start=WARM_UP
    )
    batches = Batches(cells, config, random, generator)
    bar = progress(range(config.n_steps), desc="train", unit="batch")
    before = torch.get_num_threads()
    torch.set_num_threads(settings.n_threads)
    try:
        for _ in bar:
            loss = _loss(batches.draw(), encoder, decoder, prototypes, batches, config)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    finally:
        torch.set_num_threads(before)
    return encoder.eval(), decoder.eval()


def _loss(
    batch: Batch,
    encoder: Encoder,
    decoder: Decoder,
    prototypes: torch.Tensor,
    batches: Batches,
    config: TrainConfig,
) -> torch.Tensor:
    target_sum = encoder.config.target_sum
    embedding = encoder(_lognorm(batch.counts * batch.seen, target_sum), batch.seen)
    loss: torch.Tensor = embedding.sum() * 0
    if config.objective_weight > 0:
        triplets = mine(
            embedding,
            batch.labels,
            batch.studies,
            batches.kin,
            lone=batches.lone,
            margin=config.margin,
            mining=config.mining,
            generator=batches.generator,
            per_anchor=config.per_anchor,
        )
        loss = loss + config.objective_weight * triplet_loss(embedding, triplets, config.margin)
    if config.reconstruction_weight > 0:
        target = encoder.scale(_lognorm(batch.counts, target_sum), batch.observed)
        error = reconstruction_loss(decoder(embedding), target, batch.observed)
        loss = loss + config.reconstruction_weight * error
    if config.prototype_weight > 0:
        cross = prototype_loss(embedding, prototypes, batch.labels, batches.below, config.temperature)
        loss = loss + config.prototype_weight * cross
    if config.l1 > 0:
        loss = loss + config.l1 * l1_loss(encoder.first.weight)
    return loss


def _lognorm(counts: torch.Tensor, target_sum: float) -> torch.Tensor:
    total = counts.sum(1, keepdim=True)
    lognorm: torch.Tensor = (counts * (target_sum / total.clamp(min=1e-6))).log1p()
    return lognorm


def _size(cells: TrainingCells) -> tuple[int, int, int]:
    return len(cells.label), len(cells.labels.names), len(cells.studies)


def _metadata(cells: TrainingCells, config: TrainConfig) -> dict[str, object]:
    n_cells, _, _ = _size(cells)
    counts = np.bincount(cells.study)
    return {
        "scim_version": version("scim-atlas"),
        "n_cells": n_cells,
        "studies": {study: int(n) for study, n in zip(cells.studies, counts, strict=True)},
        "training": dataclasses.asdict(config),
    }
