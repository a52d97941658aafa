"""Anchors nearer to cells of their label than to others, by a margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from scim.training.losses._labelled import Labelled
from scim.training.losses._mine import mine

if TYPE_CHECKING:
    import torch

    from scim.training.loop._config import Mining
    from scim.training.losses._mine import Triplets
    from scim.training.losses._relations import Relations

_TINY = 1e-12  # the square root has no slope at 0


class Triplet(Labelled):
    r"""The loss of :cite:t:`Schroff2015`, over distances instead of their squares, as in :cite:t:`Heimberg2025`.

    The mean of :math:`\max(\lVert a - p \rVert - \lVert a - n \rVert + m, 0)` over the triplets of
    :func:`scim.training.losses._mine.mine`.

    Parameters
    ----------
    relations, lone, perturbation
        See :class:`Labelled`.
    margin
        :math:`m`, of the loss and of the mining.
    mining, per_anchor
        See :func:`scim.training.losses._mine.mine`.
    """

    def __init__(
        self,
        relations: Relations,
        lone: torch.Tensor,
        *,
        perturbation: float = 0.0,
        margin: float,
        mining: Mining,
        per_anchor: int | None = None,
    ) -> None:
        super().__init__(relations, lone, perturbation=perturbation)
        self.margin, self.mining, self.per_anchor = margin, mining, per_anchor

    def _among(
        self, embedding: torch.Tensor, labels: torch.Tensor, studies: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        triplets = mine(
            embedding,
            labels,
            studies,
            self.kin,
            lone=self.lone,
            margin=self.margin,
            mining=self.mining,
            generator=generator,
            per_anchor=self.per_anchor,
        )
        return triplet_loss(embedding, triplets, self.margin)


def triplet_loss(embedding: torch.Tensor, triplets: Triplets, margin: float) -> torch.Tensor:
    r"""Return the mean of :math:`\max(\lVert a - p \rVert - \lVert a - n \rVert + m, 0)`; 0 without triplets."""
    if len(triplets.anchor) == 0:
        return embedding.sum() * 0
    anchor = embedding[triplets.anchor]
    near = _distance(anchor, embedding[triplets.positive])
    far = _distance(anchor, embedding[triplets.negative])
    return functional.relu(near - far + margin).mean()


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return ((a - b).square().sum(1) + _TINY).sqrt()
