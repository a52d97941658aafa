"""Losses of labelled cells without mining: prototypes, ArcFace, pairs (contrastive), soft neighbours (NCA), SupCon."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from pytorch_metric_learning import distances, reducers
from pytorch_metric_learning import losses as pml
from torch import nn
from torch.nn import functional

from scim.training.losses._loss import LabelledLoss

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from scim.training.loop._config import Average

_WITHIN = 1 - 1e-6  # the arc cosine has no slope at 1


class PrototypeLoss(LabelledLoss):
    """The cross-entropy of the cosines to one learned direction per label: see :func:`prototype_loss`.

    `prototypes` are (n_labels, latent_dim), of any length; the generator draws the first.
    """

    def __init__(self, *labelled: Any, latent_dim: int, temperature: float, generator: Generator) -> None:
        super().__init__(*labelled)
        drawn = torch.randn(len(self.descendants), latent_dim, generator=generator, device=generator.device)
        self.prototypes = nn.Parameter(drawn.to(self.descendants.device))
        self.temperature = temperature

    def _labelled_loss(self, embedding: Tensor, labels: Tensor, studies: Tensor, generator: Generator) -> Tensor:
        del studies, generator
        return prototype_loss(embedding, self.prototypes, labels, self.descendants, self.temperature)


def prototype_loss(
    embedding: Tensor, prototypes: Tensor, labels: Tensor, descendants: Tensor, temperature: float
) -> Tensor:
    r"""Return the cross-entropy of the cosines to one direction per label, aware of the ontology.

    A cell of a coarse label may be of any descendant of it, so the probabilities of these are summed; the ancestors of
    the label are left out, because they are not wrong: with :math:`B` the label and its descendants, and :math:`A` its
    ancestors,

    .. math:: -\log \frac{\sum_{k \in B} \exp(z \cdot w_k / \tau)}{\sum_{k \notin A} \exp(z \cdot w_k / \tau)}.

    Embeddings are (n, latent_dim) unit rows, prototypes (n_labels, latent_dim) of any length, labels (n,) codes;
    `descendants` is that of :class:`Relations`.
    """
    logits = embedding @ functional.normalize(prototypes).T / temperature  # (n, n_labels)
    return _cross_entropy(logits, labels, descendants)


def _cross_entropy(logits: Tensor, labels: Tensor, descendants: Tensor) -> Tensor:
    """Return the mean over cells: a label and its descendants are right, its ancestors are left out."""
    correct = descendants[labels]
    ancestors = descendants.T[labels] & ~correct
    right = logits.masked_fill(~correct, -torch.inf).logsumexp(1)
    return (logits.masked_fill(ancestors, -torch.inf).logsumexp(1) - right).mean()


class ArcFaceLoss(LabelledLoss):
    r"""The loss of :cite:t:`Deng2019` with several directions per label, :cite:t:`Deng2020`, aware of the ontology.

    The angle :math:`\theta_k` between a cell and label k is that to the nearest of the label's `sub_centers`
    directions: cells of a type may form several groups. With :math:`B` and :math:`A` of :func:`prototype_loss` and the
    margin :math:`\mu`, `angle` in radians, which is added to the angles of the right labels,
    :math:`\theta'_k = \theta_k + \mu` for :math:`k \in B`, else :math:`\theta_k`:

    .. math:: -\log \frac{\sum_{k \in B} \exp(\cos \theta'_k / \tau)}{\sum_{k \notin A} \exp(\cos \theta'_k / \tau)}.

    Directions and margin are those of pytorch-metric-learning, whose loss itself has one right label per cell: without
    related labels the two agree.
    """

    def __init__(
        self, *labelled: Any, latent_dim: int, temperature: float, angle: float, sub_centers: int, generator: Generator
    ) -> None:
        super().__init__(*labelled)
        self.temperature = temperature
        sizes = {"num_classes": len(self.descendants), "embedding_size": latent_dim, "sub_centers": sub_centers}
        # The package would draw the first directions from torch's global generator.
        self.centers = pml.SubCenterArcFaceLoss(**sizes, margin=math.degrees(angle), weight_init_func=nn.init.zeros_)
        drawn = torch.randn(self.centers.W.shape, generator=generator, device=generator.device)
        self.centers.W.data.copy_(drawn)

    def _labelled_loss(self, embedding: Tensor, labels: Tensor, studies: Tensor, generator: Generator) -> Tensor:
        del studies, generator
        cosine = self.centers.get_cosine(embedding).clamp(-_WITHIN, _WITHIN)  # (n, n_labels)
        harder = self.centers.modify_cosine_of_target_classes(cosine)
        logits = torch.where(self.descendants[labels], harder, cosine) / self.temperature
        return _cross_entropy(logits, labels, self.descendants)


class ContrastiveLoss(LabelledLoss):
    r"""The loss of :cite:t:`Hadsell2006`, which Siamese networks are trained with.

    With :math:`d = \lVert a - b \rVert`, a pair of positives costs :math:`d^2 / 2` and a pair of negatives
    :math:`\max(0, m - d)^2 / 2`. `average="all"` is the mean over all pairs. `"active"` is the mean over positives,
    plus the mean over those negatives that are nearer than the margin, which does not fade as negatives move apart, nor
    with the number of labels. `per_anchor` positives are drawn for each cell; `None`: all, as published.
    """

    def __init__(self, *labelled: Any, margin: float, per_anchor: int | None = None, average: Average = "all") -> None:
        super().__init__(*labelled)
        self.per_anchor, self.average = per_anchor, average
        reducer = reducers.SumReducer() if average == "all" else reducers.AvgNonZeroReducer()
        as_they_are = distances.LpDistance(normalize_embeddings=False)  # rows are of length 1, or have another metric
        self.pairs = _HalfSquares(neg_margin=margin, reducer=reducer, distance=as_they_are)

    def _labelled_loss(self, embedding: Tensor, labels: Tensor, studies: Tensor, generator: Generator) -> Tensor:
        positives = self.draw_positives(labels, studies, self.per_anchor, generator)
        negatives = self.negatives(labels).nonzero(as_tuple=True)
        loss: Tensor = self.pairs(embedding, indices_tuple=(*positives, *negatives))
        return loss / max(1, len(positives[0]) + len(negatives[0])) if self.average == "all" else loss


class _HalfSquares(pml.ContrastiveLoss):  # type: ignore[misc]  # the package has no types
    """The pairs and the means of the package's loss, which has :math:`d` and :math:`m - d` unsquared."""

    def pos_calc(self, distances: Tensor, margin: float) -> Tensor:
        return functional.relu(distances - margin).square() / 2

    def neg_calc(self, distances: Tensor, margin: float) -> Tensor:
        return functional.relu(margin - distances).square() / 2


class NCALoss(LabelledLoss):
    r"""Neighbourhood components analysis (:cite:t:`Goldberger2004`) on the embedding, its logarithm.

    A cell :math:`a` takes :math:`b` as its neighbour with probability :math:`p_{ab} \propto \exp(a \cdot b / \tau)`,
    which for unit vectors is :math:`\exp(-\lVert a - b \rVert^2 / 2 \tau)`, among its positives and negatives. The
    loss is the mean of :math:`-\log \sum_p p_{ap}` over the cells with positives.

    `NCALoss` of pytorch-metric-learning sums over all cells of the batch: related labels would be negatives, and cells
    of a study positives; where there are neither, the two agree.
    """

    def __init__(self, *labelled: Any, temperature: float) -> None:
        super().__init__(*labelled)
        self.temperature = temperature

    def _labelled_loss(self, embedding: Tensor, labels: Tensor, studies: Tensor, generator: Generator) -> Tensor:
        del generator
        positives, negatives = self.positives(labels, studies), self.negatives(labels)
        anchors = positives.any(1)
        positives, negatives = positives[anchors], negatives[anchors]
        logits = embedding[anchors] @ embedding.T / self.temperature  # (n with positives, n)
        right = logits.masked_fill(~positives, -torch.inf).logsumexp(1)
        losses = logits.masked_fill(~(positives | negatives), -torch.inf).logsumexp(1) - right
        return losses.sum() / max(1, len(losses))


class SupConLoss(LabelledLoss):
    r"""Supervised contrastive learning, :cite:t:`Khosla2020`.

    With the positives :math:`P` and the negatives :math:`N` of a cell :math:`a`, the mean of

    .. math::
        -\frac{1}{|P|} \sum_{p \in P}
        \log \frac{\exp(a \cdot p / \tau)}{\sum_{b \in P \cup N} \exp(a \cdot b / \tau)}

    over the cells with positives.
    """

    def __init__(self, *labelled: Any, temperature: float) -> None:
        super().__init__(*labelled)
        self.contrast = pml.SupConLoss(temperature=temperature)

    def _labelled_loss(self, embedding: Tensor, labels: Tensor, studies: Tensor, generator: Generator) -> Tensor:
        del generator
        positives, negatives = self.positives(labels, studies), self.negatives(labels)
        pairs = (*positives.nonzero(as_tuple=True), *negatives.nonzero(as_tuple=True))
        loss: Tensor = self.contrast(embedding, indices_tuple=pairs)
        return loss
