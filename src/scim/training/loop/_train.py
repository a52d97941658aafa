"""Training, from the user's studies to a model."""

from __future__ import annotations

import dataclasses
import os
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.csv_logs import CSVLogger

from scim._core import check_path, check_rng, check_text, check_text_or_none, logger
from scim.io import new_path
from scim.model._config import ModelConfig
from scim.model._model import Model
from scim.model.net import standardize
from scim.training.data import check_shared, combine, gathered, pick_genes, split_studies
from scim.training.linear import LINEAR, Block, encoder_of, fit_linear
from scim.training.loop._batches import unaugmented
from scim.training.loop._checkpoint import Checkpoints, digest_of, seed_of
from scim.training.loop._config import TrainConfig
from scim.training.loop._learner import merge_encoders
from scim.training.loop._loop import Fitted, Run, deterministic
from scim.training.loop._sampling import balanced_weights
from scim.training.loop._validation import MOST_CELLS, Validation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from scim.training.data import CellFilters, Inputs, TrainingCells

_CHUNK = 1024


def train(
    data: Inputs,
    *,
    label_key: str,
    study_key: str | None = None,
    filters: CellFilters | None = None,
    validation: Sequence[str] = (),
    model: ModelConfig | None = None,
    config: TrainConfig | None = None,
    fabric: Fabric | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    rng: int | np.random.Generator | None = None,
) -> Model:
    r"""Learn an embedding in which cells of a type are near each other, whatever study they come from.

    By default the loss is the cross-entropy of the cosines to one learned direction per label; labels of which one is
    an ancestor of the other in the Cell Ontology are not pushed apart. Cells are seen through random gene panels, with
    counts lost or added, so that the embedding does not depend on them. Three encoders are trained and merged into one
    network. `config=TrainConfig.paper()` has the triplets and the reconstruction of :cite:t:`Heimberg2025`.

    Data are read twice, by rows, to choose the genes and to collect their counts; files are never loaded whole.

    Parameters
    ----------
    data
        Labelled cells with counts: an AnnData, the path of an .h5ad or .zarr file, an open :class:`scim.atlas.Atlas`
        whose counts are stored, a :class:`tiledbsoma.Experiment`, a list of these, or a dict of them by name. Genes
        may be named differently in each. A gene that a data set did not measure is unknown in it, not zero.
    label_key
        Column of obs with the labels: Cell Ontology ids or names, or free words. Cells without a label are left out,
        and those without counts in the model's genes.
    study_key
        Column of obs with the study (or donor) of each cell. Default: each data set is a study.
    filters
        Which cells train, as :meth:`CellFilters.paper`. Default: all labelled cells.
    validation
        Studies that are held out. The weights with the best macro-F1 of their labels are kept, and training stops
        after `config.patience` validations without a better one.
    model
        Sizes of the net, and how many marker genes are chosen for it (`n_genes`). On some ten thousand cells larger
        nets than the default were no better. A linear map depends on `n_genes` and `latent_dim` alone.
    config
        How it is trained: the loss (`objective`), steps, augmentation, genes, memory.
    fabric
        A :class:`lightning_fabric.Fabric` with devices, strategy, precision and loggers. With several devices call
        `fabric.launch()` first or, where the strategy starts the processes (`"ddp_spawn"`), train in the function that
        `fabric.launch(function)` runs; all return the same model. Default: one GPU, or the CPU, in single precision.
    checkpoint
        Folder of the state, and of a log of the losses. If training is interrupted, the same call resumes, without
        `rng` too; on a CPU the weights are those of an uninterrupted run, to the last bit.
    rng
        Seed or generator. The same seed gives the same model on the same CPU with the same number of threads.

    Returns
    -------
    The trained model. `metadata` has the cells that the filters left out, `n_cells_empty`, those without counts in the
    model's genes, the data, and the settings; `name` can be set before it is saved.

    Raises
    ------
    KeyError
        A column is missing.
    ValueError
        There is only one label or study, or no two studies share a label; a study of `validation` does not exist;
        `checkpoint` has the state of another training; or a linear objective is given what it does not take.
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
    _check_arguments(label_key, study_key, model, config, checkpoint, rng)
    folder = None if checkpoint is None else new_path(checkpoint, what="a checkpoint")
    config = TrainConfig() if config is None else config
    is_linear = config.objective in LINEAR
    if is_linear and (validation or checkpoint is not None or fabric is not None):
        msg = f"objective={config.objective!r} is fitted in one go: it takes no validation=, checkpoint= or fabric=."
        raise ValueError(msg)
    random = np.random.default_rng(_draw_seed(folder, fabric) if rng is None and not is_linear else rng)
    net = ModelConfig() if model is None else model
    keys: dict[str, Any] = {"label_key": label_key, "study_key": study_key}
    places: dict[str, Any] = {"layer": config.layer, "transform": config.transform, "gene_key": config.gene_key}
    with gathered(data, **keys, **places, filters=filters) as (sets, report):
        training_sets, held_out_sets = split_studies(sets, validation)
        check_shared(training_sets, **keys)
        genes = pick_genes(training_sets, config.genes, net.n_genes)
        limits: dict[str, Any] = {"max_memory": config.max_memory, "scratch": config.scratch}
        cells = combine(training_sets, genes, **limits)
        held_out = combine(held_out_sets, genes, **limits) if held_out_sets else None
    if min(len(cells.labels.names), len(cells.studies)) < 2:
        left = f"the labels {list(cells.labels.names)} and the studies {list(cells.studies)}"
        msg = f"The cells that have counts in the model's genes are of {left}; expected two or more of both."
        raise ValueError(msg)
    net = dataclasses.replace(net, n_genes=len(cells.genes))
    if is_linear:
        fitted = _fit_linear(cells, net, config, random)
    else:
        fitted = _fit_members(cells, held_out, net, config, random, fabric=fabric, checkpoint=folder)
    seconds = time.perf_counter() - started
    counts = len(cells.label), len(cells.labels.names), len(cells.studies)
    logger.info("trained on %d cells, %d labels, %d studies in %.0f s", *counts, seconds)
    metadata = {
        "scim_version": version("scim-atlas"),
        "n_cells": len(cells.label),
        "studies": dict(zip(cells.studies, np.bincount(cells.study).tolist(), strict=True)),
        "objective": config.objective,
        "training": config.recipe(),
        "filters": report,
        "n_cells_empty": sum(cells.n_empty.values()),
        "validation": fitted.history,
    }
    return Model(fitted.encoder.config, cells.genes, cells.labels, fitted.encoder, fitted.decoder, metadata=metadata)


def _check_arguments(label_key: Any, study_key: Any, model: Any, config: Any, checkpoint: Any, rng: Any) -> None:
    """Raise TypeError or ValueError for arguments of other types."""
    check_text(label_key=label_key)
    check_text_or_none(study_key=study_key)
    check_rng(rng)
    if checkpoint is not None:
        check_path("checkpoint", checkpoint)
    for name, value, kind in (("config", config, TrainConfig), ("model", model, ModelConfig)):
        if value is not None and not isinstance(value, kind):
            msg = f"{name} must be a scim.model.{kind.__name__}, got {type(value).__name__}."
            raise TypeError(msg)


def _draw_seed(checkpoint: str | os.PathLike[str] | None, fabric: Fabric | None) -> int:
    """Draw a seed, the same for every process, and for every call that resumes from a checkpoint."""
    first = fabric is None or fabric.is_global_zero
    seed = seed_of(checkpoint) if checkpoint is not None and first else int(np.random.default_rng().integers(2**62))
    return seed if fabric is None else int(fabric.broadcast(seed))


def _fit_linear(cells: TrainingCells, net: ModelConfig, config: TrainConfig, random: np.random.Generator) -> Fitted:
    """Fit a linear map as an encoder without hidden layers; cells are weighted as batches draw them."""
    weights = balanced_weights(cells.label, cells.study, config.class_balance, config.study_balance)
    net = ModelConfig(net.n_genes, (), net.latent_dim)

    def blocks() -> Iterator[Block]:
        for start in range(0, len(cells.label), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(cells.label)))
            X = standardize(*unaugmented(cells, rows, net.target_sum)).numpy()
            yield Block(X, cells.label[rows], weights[rows], cells.study[rows])

    options: dict[str, Any] = {"latent_dim": net.latent_dim, "random": random, "push_weight": config.push_weight}
    affine = fit_linear(config.objective, blocks, **options)
    return Fitted(encoder_of(affine, net), None, [])


def _fit_members(
    cells: TrainingCells,
    held_out: TrainingCells | None,
    net: ModelConfig,
    config: TrainConfig,
    random: np.random.Generator,
    *,
    fabric: Fabric | None,
    checkpoint: Path | None,
) -> Fitted:
    """Train the members one after the other, with a folder for each in the checkpoint, and merge them."""
    data = "" if checkpoint is None else "".join(digest_of(part) for part in (cells, held_out) if part is not None)
    n_processes = 1 if fabric is None else fabric.world_size
    members = []
    for number, generator in enumerate(random.spawn(config.n_members)):
        checkpoints, devices = None, fabric
        if checkpoint is not None:
            identity = {"net": net.to_dict(), "training": config.recipe(), "data": data, "n_processes": n_processes}
            identity["seed"] = str(generator.bit_generator.state)
            folder = checkpoint if config.n_members == 1 else checkpoint / f"member_{number}"
            checkpoints = Checkpoints(folder, identity)
            if fabric is None:
                log = CSVLogger(os.fspath(folder), name="log", flush_logs_every_n_steps=1)
                devices = Fabric(accelerator="auto", devices=1, loggers=log)
        validation = None
        if held_out is not None:
            validation = Validation(cells, held_out, np.random.default_rng(generator.integers(2**62)))
        name = "train" if config.n_members == 1 else f"train {number + 1}/{config.n_members}"
        logger.info("%s: %d batches of %d cells", name, config.n_steps, config.batch_size)
        run = Run(cells, net, config, generator, fabric=devices, validation=validation)
        members.append(run.fit(checkpoints, name=name))
    return members[0] if len(members) == 1 else _merge(members, cells, net.target_sum, random)


def _merge(members: list[Fitted], cells: TrainingCells, target_sum: float, random: np.random.Generator) -> Fitted:
    """Merge encoders by their outputs on a sample of cells, without augmentation."""
    n = len(cells.label)
    rows = np.sort(random.choice(n, min(n, MOST_CELLS), replace=False))
    view = unaugmented(cells, rows, target_sum)
    weights = balanced_weights(cells.label[rows], cells.study[rows], 0.5, 0.5)
    with deterministic(torch.device("cpu")):
        encoder = merge_encoders([member.encoder for member in members], view, torch.from_numpy(weights).float())
    history = [{"member": number, **entry} for number, member in enumerate(members) for entry in member.history]
    return Fitted(encoder, None, history)
