"""A net for inference: batch normalisation taken into the linear layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from scim.model.net._net import Encoder

_ROWS = 64


class Layer(NamedTuple):
    """An affine map, and the PReLU behind it."""

    weight: torch.Tensor
    """(width, width before)"""
    bias: torch.Tensor
    slope: torch.Tensor | None
    """of the PReLU behind it; the last layer has none"""


def fold(encoder: Encoder) -> list[Layer]:
    """Take every Linear with the BatchNorm behind it as one affine map, computed in float64."""
    layers = []
    for block in encoder.blocks:
        _, linear, norm, prelu = block.children()
        assert isinstance(linear, torch.nn.Linear)
        assert isinstance(norm, torch.nn.BatchNorm1d)
        assert isinstance(prelu, torch.nn.PReLU)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
        bias = (linear.bias.detach().double() - norm.running_mean.double()) * factor + norm.bias.detach().double()
        layers.append(
            Layer(_scaled(linear.weight.detach(), factor), bias.float().cpu(), prelu.weight.detach().clone().cpu())
        )
    head = encoder.head
    layers.append(Layer(head.weight.detach().clone().cpu(), head.bias.detach().clone().cpu(), None))
    return layers


def _scaled(weight: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Multiply each row in float64, some rows at a time: the first layer is large."""
    out = torch.empty(weight.shape)
    for start in range(0, len(weight), _ROWS):
        rows = slice(start, start + _ROWS)
        out[rows] = weight[rows].double() * factor[rows, None]
    return out
