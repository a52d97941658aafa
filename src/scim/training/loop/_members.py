"""Training the members of a model one after the other, and making one encoder of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.csv_logs import CSVLogger

from scim._core.log import logger
from scim.pp import lognorm
from scim.training.loop._checkpoint import Checkpoints, digest_of
from scim.training.loop._loop import Fitted, Run, steady
from scim.training.loop._sample import balanced_weights
from scim.training.loop._stack import stack
from scim.training.loop._validation import Validation
from scim.training.losses import View

if TYPE_CHECKING:
    from pathlib import Path

    from scim.model._config import ModelConfig
    from scim.training.data import TrainingCells
    from scim.training.loop._config import TrainConfig

MOST_CELLS = 4000
"""Cells by which the outputs of the members are compared."""


def fit_members(
    cells: TrainingCells,
    others: TrainingCells | None,
    net: ModelConfig,
    config: TrainConfig,
    random: np.random.Generator,
    *,
    fabric: Fabric | None,
    checkpoint: Path | None,
    every: int,
) -> Fitted:
    """Train all members; in a checkpoint each has a folder of its own, so that those that are done are not repeated.

    Parameters
    ----------
    cells, others
        Cells that train, and those of studies that do not.
    net, config
        Sizes of a member, and how it is trained.
    random
        Seeds all.
    fabric
        What they run on.
    checkpoint, every
        Where states are kept, and after how many batches.
    """
    seen = "" if checkpoint is None else digest_of(cells) + ("" if others is None else digest_of(others))
    fitted = []
    for number, own in enumerate(random.spawn(config.n_members)):
        checkpoints, runs_on = None, fabric
        if checkpoint is not None:
            run = {
                "net": net.to_dict(), "training": config.to_dict(), "data": seen, "seed": str(own.bit_generator.state),
                "n_processes": 1 if fabric is None else fabric.world_size,
            }  # fmt: skip
            folder = checkpoint if config.n_members == 1 else checkpoint / f"member_{number}"
            checkpoints = Checkpoints(folder, run)
            if fabric is None:
                log = CSVLogger(os.fspath(folder), name="log", flush_logs_every_n_steps=1)
                runs_on = Fabric(accelerator="auto", devices=1, loggers=log)
        held = None if others is None else Validation(cells, others, np.random.default_rng(own.integers(2**62)))
        name = "train" if config.n_members == 1 else f"train {number + 1}/{config.n_members}"
        steps = config.n_members, config.n_steps, config.batch_size
        logger.info("encoder %d of %d: %d batches of %d cells", number + 1, *steps)
        fitted.append(Run(cells, net, config, own, fabric=runs_on, validation=held).fit(checkpoints, every, name=name))
    if len(fitted) == 1:
        return fitted[0]
    with steady(torch.device("cpu")):
        encoder = stack([one.encoder for one in fitted], *_some(cells, net.target_sum, random))
    history = [{"member": number, **look} for number, one in enumerate(fitted) for look in one.history]
    return Fitted(encoder, None, history)


def _some(cells: TrainingCells, target_sum: float, random: np.random.Generator) -> tuple[View, torch.Tensor]:
    """Draw cells as they are, through all genes that were measured, and how much each counts."""
    n = len(cells.label)
    rows = np.sort(random.choice(n, min(n, MOST_CELLS), replace=False))
    x = torch.from_numpy(lognorm(cells.X[rows], target_sum).toarray())
    seen = torch.from_numpy(cells.panels[cells.panel[rows]].astype(np.float32))
    weights = balanced_weights(cells.label[rows], cells.study[rows], class_balance=0.5, study_balance=0.5)
    return View(x, seen), torch.from_numpy(weights).float()
