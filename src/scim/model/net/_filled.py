"""Nets of given weights: none are drawn, and those of the right type are not copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scim.model._config import ModelConfig

Net = TypeVar("Net", bound=torch.nn.Module)


def bare(kind: Callable[[ModelConfig], Net], config: ModelConfig) -> Net:
    """Return an encoder or a decoder without weights: its tensors have shapes, and no memory."""
    with torch.device("meta"):
        return kind(config)


def fill(net: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Let tensors be the weights of a net that has none; what is missing are counts of batches, which are zero."""
    given = {
        name: tensors[name].to(old.dtype) if name in tensors else torch.zeros(old.shape, dtype=old.dtype)
        for name, old in net.state_dict().items()
    }
    net.load_state_dict(given, assign=True)
