"""Whether the decoder finds its way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def reconstruction_loss(decoded: torch.Tensor, target: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error over the genes that were observed; `observed` is (n, n_genes), 0 or 1."""
    error = (decoded - target).square() * observed
    return error.sum() / observed.sum().clamp(min=1)
