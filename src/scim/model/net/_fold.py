"""An encoder for inference as affine maps, with batch normalisation folded into the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from scim.model.net._net import standardize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.model.net._net import Encoder

_ROWS = 64  # of a weight matrix that are in float64 at a time


class Layer(NamedTuple):
    """An affine map, and the PReLU behind it."""

    weight: torch.Tensor
    """(width, width of the input)"""
    bias: torch.Tensor
    slope: torch.Tensor | None
    """of the PReLU; the last layer has none"""


def fold(encoder: Encoder) -> list[Layer]:
    """Return every Linear with the BatchNorm behind it as one affine map, computed in float64."""
    layers = []
    for block in encoder.blocks:
        _, linear, norm, prelu = list[Any](block.children())
        factor = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
        bias = (linear.bias.detach().double() - norm.running_mean.double()) * factor + norm.bias.detach().double()
        weight = _scaled(linear.weight.detach(), factor)
        layers.append(Layer(weight, bias.float().cpu(), prelu.weight.detach().clone().cpu()))
    head = encoder.head
    layers.append(Layer(head.weight.detach().clone().cpu(), head.bias.detach().clone().cpu(), None))
    return layers


def _scaled(weight: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    out = torch.empty(weight.shape)
    for start in range(0, len(weight), _ROWS):
        rows = slice(start, start + _ROWS)
        out[rows] = weight[rows].double() * factor[rows, None]
    return out


def apply_layers(h: torch.Tensor, layers: list[Layer]) -> torch.Tensor:
    """Return the output of layers one after the other, scaled to unit rows; NaN for a row whose length overflows."""
    for weight, bias, slope in layers:
        h = functional.linear(h, weight, bias)
        if slope is not None:
            h = functional.prelu(h, slope)
    overflows = ~torch.isfinite(torch.linalg.vector_norm(h.detach(), dim=1, keepdim=True))
    return functional.normalize(h).masked_fill(overflows, torch.nan)  # and not zeros, as of a cell without counts


class DenseEncoder:
    """A trained encoder on dense rows of the observed genes, through which gradients flow back to the genes.

    It computes what :class:`FoldedEncoder` computes; genes that are not `observed`, (n_genes,), have no column, and by
    default all are. Later changes of the net do not reach it.
    """

    def __init__(self, encoder: Encoder, observed: NDArray[np.bool_] | None = None) -> None:
        all_genes = np.ones(encoder.config.n_genes, dtype=np.bool_)
        self.observed = all_genes if observed is None else np.asarray(observed, dtype=np.bool_)
        first, *rest = fold(encoder)
        self._standardize = bool(encoder.config.standardize)
        self._layers = [first._replace(weight=first.weight[:, torch.from_numpy(self.observed)].contiguous()), *rest]

    @property
    def widths(self) -> list[int]:
        """Number of values that each layer reads."""
        return [layer.weight.shape[1] for layer in self._layers]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Embed log-normalised rows (n, n_observed), none of them empty, as unit rows (n, latent_dim)."""
        return apply_layers(standardize(x) if self._standardize else x, self._layers)
