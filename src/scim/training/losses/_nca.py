"""Soft neighbours: the chance that a random neighbour has a cell's label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scim.training.losses._labelled import Labelled
from scim.training.losses._pairs import find_pairs

if TYPE_CHECKING:
    from scim.training.losses._relations import Relations


class NeighbourhoodComponents(Labelled):
    r"""The loss of :cite:t:`Goldberger2004` on the embedding, its logarithm, as in pytorch-metric-learning.

    A cell :math:`a` takes :math:`b` as its neighbour with probability :math:`p_{ab} \propto \exp(a \cdot b / \tau)`,
    which for unit vectors is :math:`\exp(-\lVert a - b \rVert^2 / 2 \tau)`, among its positives and negatives. The
    loss is the mean of :math:`-\log \sum_p p_{ap}` over the cells with positives.

    `NCALoss` of that package sums over all cells of the batch, so that kin would be negatives and cells of a study
    positives; where there are neither, the two agree.

    Parameters
    ----------
    relations, lone, perturbation
        See :class:`Labelled`.
    temperature
        :math:`\tau`.
    """

    def __init__(
        self, relations: Relations, lone: torch.Tensor, *, perturbation: float = 0.0, temperature: float
    ) -> None:
        super().__init__(relations, lone, perturbation=perturbation)
        self.temperature = temperature

    def _among(
        self, embedding: torch.Tensor, labels: torch.Tensor, studies: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        del generator
        friends, enemies = find_pairs(labels, studies, self.kin, self.lone)
        found = friends.any(1)
        friends, enemies = friends[found], enemies[found]
        logits = embedding[found] @ embedding.T / self.temperature  # (n with positives, n)
        right = logits.masked_fill(~friends, -torch.inf).logsumexp(1)
        losses = logits.masked_fill(~(friends | enemies), -torch.inf).logsumexp(1) - right
        return losses.sum() / max(1, len(losses))
