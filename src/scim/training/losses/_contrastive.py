"""Pairs: those of a label pulled together, others pushed beyond a margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_metric_learning import losses
from torch.nn import functional

from scim.training.losses._labelled import Labelled
from scim.training.losses._mine import positive_pairs
from scim.training.losses._pairs import enemy_pairs

if TYPE_CHECKING:
    import torch

    from scim.training.losses._relations import Relations


class Contrastive(Labelled):
    r"""The loss of :cite:t:`Hadsell2006`, which Siamese networks are trained with.

    With :math:`d = \lVert a - b \rVert`, the mean of :math:`d^2 / 2` over pairs of positives, plus the mean of
    :math:`\max(0, m - d)^2 / 2` over those pairs of negatives that are nearer than the margin.

    Over all negatives the second mean would fade as they move apart, most of them being far, and the pull would win.

    Parameters
    ----------
    relations, lone, perturbation
        See :class:`Labelled`.
    margin
        :math:`m`.
    per_anchor
        Positives drawn for each cell; default: all.
    """

    def __init__(
        self,
        relations: Relations,
        lone: torch.Tensor,
        *,
        perturbation: float = 0.0,
        margin: float,
        per_anchor: int | None = None,
    ) -> None:
        super().__init__(relations, lone, perturbation=perturbation)
        self.per_anchor = per_anchor
        self.pairs = _HalfSquares(neg_margin=margin)

    def _among(
        self, embedding: torch.Tensor, labels: torch.Tensor, studies: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        near = positive_pairs(labels, studies, self.lone, per_anchor=self.per_anchor, generator=generator)
        far = enemy_pairs(labels, self.kin).nonzero(as_tuple=True)
        loss: torch.Tensor = self.pairs(embedding, indices_tuple=(*near, *far))
        return loss


class _HalfSquares(losses.ContrastiveLoss):  # type: ignore[misc]  # the package has no types
    """The pairs and the means of the package's loss; itself it has only :math:`d` and :math:`m - d`, unsquared."""

    def pos_calc(self, distances: torch.Tensor, margin: float) -> torch.Tensor:
        return functional.relu(distances - margin).square() / 2

    def neg_calc(self, distances: torch.Tensor, margin: float) -> torch.Tensor:
        return functional.relu(margin - distances).square() / 2
