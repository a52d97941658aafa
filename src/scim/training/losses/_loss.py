"""The base classes of all losses, and which cells of a batch are positives and negatives of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from scim import ontology

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

    from scim.model.net import Encoder


class View(NamedTuple):
    """Cells as one experiment might have measured them."""

    x: Tensor
    """(n, n_genes) log-normalised values of the visible genes"""
    seen: Tensor
    """(n, n_genes) visible genes, 0 or 1"""


class Loss(nn.Module):
    """A loss that brings cells of a type, or views of a cell, together.

    All that has to survive a checkpoint is in parameters, persistent buffers and submodules: `state_dict` has it.
    """

    n_views: int = 1
    """augmented views of each cell that a step draws"""

    def embed(self, encoder: Encoder, views: Sequence[View]) -> list[Tensor]:
        """Embed `n_views` views of the same cells, each (n, latent_dim); the first by the encoder, with gradient."""
        return [encoder(view.x, view.seen) for view in views]

    def forward(self, embeddings: Sequence[Tensor], labels: Tensor, studies: Tensor, generator: Generator) -> Tensor:
        """Return the loss, a scalar, of the unit rows of :meth:`embed` with their label and study codes (n,).

        The generator may live on another device than the embeddings.
        """
        device = embeddings[0].device
        # Distances of unit rows are differences of numbers near 1: half precision would leave two digits of them.
        with torch.autocast(device.type, enabled=False):
            return self._loss([z.float() for z in embeddings], labels.to(device), studies.to(device), generator)

    def after_step(self, encoder: Encoder) -> None:
        """Update what follows the encoder, after each of its steps."""

    def _loss(self, embeddings: list[Tensor], labels: Tensor, studies: Tensor, generator: Generator) -> Tensor:
        raise NotImplementedError


class Relations(NamedTuple):
    """Relations of labels in the Cell Ontology: bool tensors, each (n_labels, n_labels)."""

    related: Tensor
    """labels that are not each other's negatives: the same, or one an ancestor of the other"""
    descendants: Tensor
    """`descendants[a, b]`: b is a, or a descendant of a"""
    parents: Tensor
    """`parents[a, b]`: b is an ancestor of a, and no other label lies between the two"""


def relations(labels: Sequence[str]) -> Relations:
    """Look labels up in the Cell Ontology: ids, names, or free words, which are related to themselves only."""
    terms = [ontology.term_id(label) for label in labels]
    names = np.array([label if term is None else term for label, term in zip(labels, terms, strict=True)], dtype=object)
    ancestors = [frozenset[str]() if term is None else ontology.ancestors(term) for term in terms]
    above = np.array([[term in higher for term in terms] for higher in ancestors], dtype=np.bool_)
    same = names[:, None] == names[None, :]
    between = above.astype(np.int64) @ above.astype(np.int64) > 0  # a label is above a and below b
    tables = same | above | above.T, same | above.T, above & ~between
    return Relations(*(torch.from_numpy(table) for table in tables))


class LabelledLoss(Loss):
    """A loss of one view of each cell and its label; a share of the labels is made coarser first, see :func:`perturb`.

    `within_study`, (n_labels,), marks the labels whose pairs within a study are positives too.
    """

    related: Tensor
    descendants: Tensor
    parents: Tensor
    within_study: Tensor

    def __init__(self, relations: Relations, within_study: Tensor, label_perturbation: float = 0.0) -> None:
        super().__init__()
        # Buffers follow the module to its device; they are not saved, because the labels determine them.
        for name, table in (*relations._asdict().items(), ("within_study", within_study)):
            self.register_buffer(name, table, persistent=False)
        self.label_perturbation = label_perturbation

    def positives(self, labels: Tensor, studies: Tensor) -> Tensor:
        """Return the pairs of a label and of different studies, or of a label of `within_study`, bool (n, n)."""
        allowed = (studies[:, None] != studies[None, :]) | self.within_study[labels][:, None]
        return ((labels[:, None] == labels[None, :]) & allowed).fill_diagonal_(fill_value=False)

    def negatives(self, labels: Tensor) -> Tensor:
        """Return the pairs of unrelated labels, bool (n, n); pairs that are neither are left out of every loss."""
        return ~self.related[labels][:, labels]

    def draw_positives(
        self, labels: Tensor, studies: Tensor, per_anchor: int | None, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Return anchors, ascending, and their positives: at most `per_anchor` of each cell, or all.

        The limit keeps common labels, whose pairs grow as the square of their cells, from outweighing the rare ones.
        """
        pairs = self.positives(labels, studies)
        if per_anchor is None or per_anchor >= len(labels):
            anchor, positive = pairs.nonzero(as_tuple=True)
            return anchor, positive
        keys = torch.rand(pairs.shape, generator=generator, device=generator.device)
        value, cell = keys.to(labels.device).masked_fill(~pairs, -1).topk(per_anchor, dim=1)
        anchor, column = (value >= 0).nonzero(as_tuple=True)
        return anchor, cell[anchor, column]

    def _loss(self, embeddings: list[Tensor], labels: Tensor, studies: Tensor, generator: Generator) -> Tensor:
        if self.label_perturbation > 0:
            labels = perturb(labels, self.parents, self.label_perturbation, generator)
        return self._labelled_loss(embeddings[0], labels, studies, generator)

    def _labelled_loss(self, embedding: Tensor, labels: Tensor, studies: Tensor, generator: Generator) -> Tensor:
        raise NotImplementedError


def perturb(labels: Tensor, parents: Tensor, share: float, generator: Generator) -> Tensor:
    """Replace a share of the labels of a batch by a random parent that the batch has too, all parents alike.

    Cells of coarse and of fine labels are compared this way. A cell without such a parent keeps its label; `parents`
    is that of :class:`Relations`.
    """
    present = torch.zeros(len(parents), dtype=torch.bool, device=labels.device)
    present[labels] = True
    options = (parents & present)[labels]  # (n, n_labels)
    chosen = uniform(len(labels), generator, labels.device) < share
    n_options = options.sum(1)
    rank = (uniform(len(labels), generator, labels.device) * n_options).long().clamp(max=n_options - 1)
    parent = (options & (options.cumsum(1) == rank[:, None] + 1)).int().argmax(1)
    return torch.where(chosen & (n_options > 0), parent, labels)


def uniform(n: int, generator: Generator, device: torch.device) -> Tensor:
    """Draw `n` numbers from [0, 1) on the device of the generator, and move them to `device`."""
    return torch.rand(n, generator=generator, device=generator.device).to(device)
