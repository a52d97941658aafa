"""A linear metric as an encoder without hidden layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from scim.model.net._net import Encoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scim.model._config import ModelConfig


class Affine(NamedTuple):
    """The map z = weight @ x + bias, whose rows are then brought to length 1."""

    weight: NDArray[np.float32]
    """(latent_dim, n_genes)"""
    bias: NDArray[np.float32]
    """(latent_dim,)"""


def encoder_of(affine: Affine, config: ModelConfig) -> Encoder:
    """Make the encoder that applies a map.

    Parameters
    ----------
    affine
        From :func:`scim.training.linear.fit_linear`.
    config
        The genes and the form of the input; `hidden` and `latent_dim` are those of the map, whatever it says.

    Returns
    -------
    An encoder in evaluation mode; its `config` is the one to save.

    Raises
    ------
    ValueError
        The map was fitted to another number of genes.
    """
    latent_dim, n_genes = affine.weight.shape
    if n_genes != config.n_genes:
        msg = f"The map reads {n_genes} genes, config.n_genes is {config.n_genes}; fit it to cells of those genes."
        raise ValueError(msg)
    encoder = Encoder(replace(config, hidden=(), latent_dim=latent_dim), torch.Generator())
    with torch.no_grad():
        encoder.head.weight.copy_(torch.from_numpy(affine.weight))
        encoder.head.bias.copy_(torch.from_numpy(affine.bias))
    return encoder.eval()
