"""The average of the weights over the steps: steadier than the last ones."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


class WeightAverage:
    r"""Exponential moving average of the weights, and of the statistics of batch normalisation.

    After step :math:`t` it is :math:`d \, \bar w + (1 - d) w` with :math:`d = \min(decay, (t + 1) / (t + 10))`, so that
    the first steps are soon forgotten.

    Parameters
    ----------
    module
        Whose tensors are averaged.
    decay
        0 to 1.

    Attributes
    ----------
    tensors
        The averages by name, as in the module's state.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after a step, counted from 0."""
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.tensors[name].lerp_(value, 1 - decay)
            else:
                self.tensors[name].copy_(value)

    @contextlib.contextmanager
    def put_into(self, module: nn.Module) -> Iterator[None]:
        """Let a module have the average for a while."""
        own = {name: value.detach().clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self.tensors)
        try:
            yield
        finally:
            module.load_state_dict(own)
