"""Fitting a linear metric to the cells that train."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scim.model._config import ModelConfig
from scim.model.net import standardize
from scim.pp import lognorm
from scim.training.linear import Block, encoder_of, fit_linear
from scim.training.loop._loop import Fitted
from scim.training.loop._sample import balanced_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scim.training.data import TrainingCells
    from scim.training.linear import LinearObjective
    from scim.training.loop._config import TrainConfig

_BATCH = 1024


def fit_affine(
    objective: LinearObjective,
    cells: TrainingCells,
    latent_dim: int,
    config: TrainConfig,
    random: np.random.Generator,
) -> tuple[ModelConfig, Fitted]:
    """Fit an encoder without hidden layers; cells weigh as they would be drawn."""
    weights = balanced_weights(
        cells.label, cells.study, class_balance=config.class_balance, study_balance=config.study_balance
    )
    net = ModelConfig(len(cells.genes), (), latent_dim)

    def blocks() -> Iterator[Block]:
        for start in range(0, len(cells.label), _BATCH):
            rows = np.arange(start, min(start + _BATCH, len(cells.label)))
            x = torch.from_numpy(lognorm(cells.X[rows], net.target_sum).toarray())
            observed = torch.from_numpy(cells.panels[cells.panel[rows]])
            yield Block(standardize(x, observed).numpy(), cells.label[rows], weights[rows], cells.study[rows])

    affine = fit_linear(objective, blocks, latent_dim=latent_dim, random=random)
    net = ModelConfig(len(cells.genes), (), len(affine.bias))
    return net, Fitted(encoder_of(affine, net), None, [])
