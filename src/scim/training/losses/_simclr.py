"""Two views of each cell, nearer to each other than to all other cells; no labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_metric_learning.losses import SelfSupervisedLoss, SupConLoss

from scim.training.losses._objective import Objective

if TYPE_CHECKING:
    import torch


class TwoViews(Objective):
    r"""NT-Xent, the loss of :cite:t:`Chen2020`.

    With the other view :math:`a'` of a cell's view :math:`a`, the mean over all :math:`2 n` views of

    .. math:: -\log \frac{\exp(a \cdot a' / \tau)}{\sum_{b \ne a} \exp(a \cdot b / \tau)}.

    A view has one positive, so this is the supervised contrastive loss with a label for each cell, as which it is
    computed: `NTXentLoss` of pytorch-metric-learning makes a matrix of positive pairs by negative pairs, 32 GB for
    1,000 cells.

    Parameters
    ----------
    temperature
        :math:`\tau`.
    """

    n_views = 2
    needs_labels = False

    def __init__(self, *, temperature: float) -> None:
        super().__init__()
        self.contrast = SelfSupervisedLoss(SupConLoss(temperature=temperature))

    def _loss(
        self, embeddings: list[torch.Tensor], labels: torch.Tensor, studies: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        del labels, studies, generator
        loss: torch.Tensor = self.contrast(*embeddings)
        return loss
