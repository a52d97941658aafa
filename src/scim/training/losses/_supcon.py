"""Supervised contrastive: each positive against all negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_metric_learning.losses import SupConLoss

from scim.training.losses._labelled import Labelled
from scim.training.losses._pairs import find_pairs

if TYPE_CHECKING:
    import torch

    from scim.training.losses._relations import Relations


class SupervisedContrastive(Labelled):
    r"""The loss of :cite:t:`Khosla2020`.

    With the positives :math:`P` and the negatives :math:`N` of a cell :math:`a`, the mean of

    .. math::
        -\frac{1}{|P|} \sum_{p \in P}
        \log \frac{\exp(a \cdot p / \tau)}{\sum_{b \in P \cup N} \exp(a \cdot b / \tau)}

    over the cells with positives.

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
        self.contrast = SupConLoss(temperature=temperature)

    def _among(
        self, embedding: torch.Tensor, labels: torch.Tensor, studies: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        del generator
        pairs = find_pairs(labels, studies, self.kin, self.lone)
        loss: torch.Tensor = self.contrast(embedding, indices_tuple=pairs.indices)
        return loss
