"""Training, from the user's studies to a model."""

from __future__ import annotations

import dataclasses
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.checks import check_choice, check_count
from scim._core.log import logger
from scim.model._config import ModelConfig
from scim.model._model import Model
from scim.training.data import TrainingCells, check_shared, combine, gathered, pick_genes, split_studies
from scim.training.linear import LINEAR
from scim.training.loop._checkpoint import seed_of
from scim.training.loop._config import OBJECTIVES, TrainConfig
from scim.training.loop._linear import fit_affine
from scim.training.loop._members import fit_members

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from lightning_fabric import Fabric
    from typing_extensions import TypeIs

    from scim.training.data import CellFilters, Inputs
    from scim.training.linear import LinearObjective
    from scim.training.loop._config import Objective

MAX_MEMORY = 10**9
"""Bytes of counts that are kept in memory; beyond it they go to a file."""


def train(
    data: Inputs,
    *,
    label_key: str,
    study_key: str | None = None,
    objective: Objective | LinearObjective | None = None,
    filters: CellFilters | None = None,
    validation: Sequence[str] = (),
    genes: Sequence[str] | None = None,
    n_genes: int = 2000,
    layer: str | None = None,
    gene_key: str | None = None,
    name: str = "scim model",
    hidden: tuple[int, ...] = (256,),
    latent_dim: int = 64,
    input_dropout: float = 0.0,
    dropout: float = 0.2,
    standardize: bool = True,
    config: TrainConfig | None = None,
    fabric: Fabric | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 250,
    max_memory: int = MAX_MEMORY,
    scratch: str | os.PathLike[str] | None = None,
    rng: int | np.random.Generator | None = None,
) -> Model:
    r"""Learn an embedding in which cells of a type are near each other, whatever study they come from.

    By default the loss is the cross-entropy of the cosines to one learned direction per label, where labels of which
    one is an ancestor of the other in the Cell Ontology are not pushed apart. Cells are seen through random gene
    panels, with counts lost or added, so that the embedding does not depend on them. Three encoders are trained and
    become one. `config=TrainConfig.paper()` has the triplets and the reconstruction of :cite:t:`Heimberg2025`.

    Data are read twice, by rows, to choose the genes and to collect their counts; files are never loaded whole. Up to
    `max_memory` bytes of counts (six bytes a value of the genes chosen) are kept in memory, more go to a file.

    Parameters
    ----------
    data
        Labelled cells with counts: an AnnData, the path of an .h5ad or .zarr file, an open :class:`scim.atlas.Atlas`
        whose counts are stored, a :class:`tiledbsoma.Experiment`, a list of these, or a dict of them by name. Genes
        may be named differently in each. A gene that a data set did not measure is unknown there, not zero: neither
        the input nor the loss looks at it.
    label_key
        Column of obs with the labels: Cell Ontology ids or names, or free words. Cells without a label are left out.
    study_key
        Column of obs with the study (or donor) of each cell. Default: each data set is a study.
    objective
        What is learned; default: that of `config`. `"prototypes"`, `"triplet"`, `"contrastive"`, `"nca"`,
        `"supcon"`, `"simclr"`, `"moco"` train a net, see :class:`TrainConfig`.
        `"whitening"`, `"lda"`, `"linear_nca"`, `"lmnn"`, `"itml"` are linear maps, see
        :func:`scim.training.linear.fit_linear`, of standardised cells, fitted in one go: they take no `validation`,
        `fabric` or `checkpoint`, and do not look at `hidden`, `standardize` and most of `config`.
    filters
        Which cells train, as :meth:`CellFilters.paper`. Default: all labelled cells.
    validation
        Studies that do not train. The weights are kept with which the macro-F1 of their labels is best, and training
        stops when it has not grown for `config.patience` looks.
    genes
        Genes that the model reads, those left out that no data set measured. Default: `n_genes` markers of the labels
        are chosen.
    n_genes
        How many genes are chosen.
    layer
        Where the counts are; default: wherever they are found.
    gene_key
        Column of var that holds the gene names; default: the index, or the column with most human genes.
    name
        A name for the model.
    hidden
        Widths of the encoder's hidden layers. On some ten thousand cells wider and deeper nets were no better.
    latent_dim
        Length of an embedding.
    input_dropout, dropout
        Share of the input, and of the input of later layers, that is set to zero in training.
    standardize
        Whether cells are standardised over the genes that were observed, see :class:`ModelConfig`.
    config
        How it is trained.
    fabric
        A :class:`lightning_fabric.Fabric` that says on how many devices, with which strategy, precision and loggers.
        Of several devices it has to be launched: call `fabric.launch()` first, or with a strategy that starts the
        processes itself, as `"ddp_spawn"`, `fabric.launch(function)`, and train in `function(fabric)`. Each process
        reads all data; all return the same model. Default: one GPU if there is one, else the CPU, in single precision.
    checkpoint
        Folder in which the state is kept, and a log of the losses. If training is interrupted, the same call goes on
        from there (without `rng`, with the seed that was drawn then); on a CPU the weights become what they would have
        been, to the last bit.
    checkpoint_every
        Batches between two states.
    max_memory
        In bytes; see above.
    scratch
        Folder for counts beyond that; default: the system's for temporary files.
    rng
        Seed or generator. The same seed gives the same model on the same CPU with the same number of threads.

    Returns
    -------
    The trained model. `metadata` says what the filters did, of what it was trained and how.

    Raises
    ------
    KeyError
        A column is missing.
    ValueError
        There is only one label or study, or no two studies share a label; a study of `validation` does not exist; or
        `checkpoint` has the state of another training; a linear objective is given what it does not take.
    FileNotFoundError, FormatError
        A file does not exist, or cannot be read.
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
    check_count("n_genes", n_genes)
    check_count("checkpoint_every", checkpoint_every)
    check_count("max_memory", max_memory, least=0)
    if objective is not None:
        check_choice("objective", objective, (*OBJECTIVES, *LINEAR))
    config = _config(config, objective)
    objective = config.objective if objective is None else objective
    if _is_linear(objective) and (validation or checkpoint is not None or fabric is not None):
        msg = f"objective={objective!r} is fitted in one go: it takes no validation=, checkpoint= or fabric=."
        raise ValueError(msg)
    if rng is None and not _is_linear(objective):
        rng = _drawn_seed(checkpoint, fabric)
    random = np.random.default_rng(rng)
    reading = gathered(data, label_key=label_key, study_key=study_key, layer=layer, gene_key=gene_key, filters=filters)
    with reading as (every, report):
        sets, held = split_studies(every, validation)
        check_shared(sets, label_key, study_key)
        chosen = pick_genes(sets, genes, n_genes)
        limits: dict[str, Any] = {"max_memory": max_memory, "scratch": scratch}
        cells = combine(sets, chosen, **limits)
        others = combine(held, chosen, **limits) if held else None
    if _is_linear(objective):
        net, fitted = fit_affine(objective, cells, latent_dim, config, random)
    else:
        net = ModelConfig(
            len(cells.genes), tuple(hidden), latent_dim,
            input_dropout=input_dropout, dropout=dropout, standardize=standardize,
        )  # fmt: skip
        folder = None if checkpoint is None else Path(checkpoint)
        fitted = fit_members(
            cells, others, net, config, random, fabric=fabric, checkpoint=folder, every=checkpoint_every
        )
        net = fitted.encoder.config
    seconds = time.perf_counter() - started
    counts = len(cells.label), len(cells.labels.names), len(cells.studies)
    logger.info("trained on %d cells, %d labels, %d studies in %.0f s", *counts, seconds)
    metadata = _metadata(cells, objective, config) | {"filters": report, "validation": fitted.history}
    return Model(net, cells.genes, cells.labels, fitted.encoder, fitted.decoder, name=name, metadata=metadata)


def _config(config: TrainConfig | None, objective: Objective | LinearObjective | None) -> TrainConfig:
    if objective is None or _is_linear(objective):
        return TrainConfig() if config is None else config
    return dataclasses.replace(TrainConfig() if config is None else config, objective=objective)


def _drawn_seed(checkpoint: str | os.PathLike[str] | None, fabric: Fabric | None) -> int:
    """Draw a seed, the same for every process, and for every call that goes on from a checkpoint."""
    first = fabric is None or fabric.is_global_zero
    seed = seed_of(checkpoint) if checkpoint is not None and first else int(np.random.default_rng().integers(2**62))
    return seed if fabric is None else int(fabric.broadcast(seed))


def _metadata(cells: TrainingCells, objective: str, config: TrainConfig) -> dict[str, object]:
    counts = np.bincount(cells.study)
    return {
        "scim_version": version("scim-atlas"),
        "n_cells": len(cells.label),
        "studies": {study: int(n) for study, n in zip(cells.studies, counts, strict=True)},
        "objective": objective,
        "training": dataclasses.asdict(config),
    }


def _is_linear(objective: Objective | LinearObjective) -> TypeIs[LinearObjective]:
    return objective in LINEAR
