"""What an objective is: it says how cells are embedded in training, and what of the embeddings should become small."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scim.model.net._net import Encoder


class View(NamedTuple):
    """Cells as one experiment might have seen them."""

    x: torch.Tensor
    """(n, n_genes) log-normalised values of the genes seen"""
    seen: torch.Tensor
    """(n, n_genes) genes that the encoder is shown, 0 or 1"""


class Objective(nn.Module):
    """What brings cells of a type, or views of a cell, together.

    What has to survive a checkpoint is in parameters, persistent buffers and submodules: `state_dict` is all of it.

    Attributes
    ----------
    n_views
        Augmented views of each cell that a step draws.
    needs_labels
        Whether the labels are looked at.
    """

    n_views: int = 1
    needs_labels: bool = True

    def embed(self, encoder: Encoder, views: Sequence[View]) -> list[torch.Tensor]:
        """Embed `n_views` views of the same cells, each (n, latent_dim); the first is the encoder's, with gradient."""
        return [encoder(view.x, view.seen) for view in views]

    def forward(
        self,
        embeddings: Sequence[torch.Tensor],
        labels: torch.Tensor,
        studies: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Return the loss of a batch, a scalar.

        Parameters
        ----------
        embeddings
            From :meth:`embed`: unit rows.
        labels, studies
            (n,) codes.
        generator
            Draws whatever is drawn; it may live on another device than the embeddings.
        """
        device = embeddings[0].device
        # Distances of unit rows are differences of numbers near 1: half precision would leave two digits of them.
        with torch.autocast(device.type, enabled=False):
            return self._loss([z.float() for z in embeddings], labels.to(device), studies.to(device), generator)

    def after_step(self, encoder: Encoder) -> None:
        """Follow the encoder, which has just taken a step."""

    def _loss(
        self, embeddings: list[torch.Tensor], labels: torch.Tensor, studies: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        raise NotImplementedError


def uniform(n: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """Draw `n` numbers from [0, 1), where the generator lives, and bring them to `device`."""
    return torch.rand(n, generator=generator, device=generator.device).to(device)
