"""Few genes with large weights rather than many with small ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def l1_loss(weight: torch.Tensor) -> torch.Tensor:
    """Return the sum of the absolute weights."""
    return weight.abs().sum()
