"""One learned direction per label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from scim.training.losses._labelled import Labelled

if TYPE_CHECKING:
    from scim.training.losses._relations import Relations


class Prototypes(Labelled):
    """The cross-entropy of the cosines to one learned direction per label: see :func:`prototype_loss`.

    Attributes
    ----------
    prototypes
        (n_labels, latent_dim), of any length.

    Parameters
    ----------
    relations, lone, perturbation
        See :class:`Labelled`.
    latent_dim
        Length of an embedding.
    temperature
        Divides the cosines.
    generator
        Draws the first directions.
    """

    def __init__(
        self,
        relations: Relations,
        lone: torch.Tensor,
        *,
        perturbation: float = 0.0,
        latent_dim: int,
        temperature: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__(relations, lone, perturbation=perturbation)
        drawn = torch.randn(len(relations.below), latent_dim, generator=generator, device=generator.device)
        self.prototypes = nn.Parameter(drawn.to(relations.below.device))
        self.temperature = temperature

    def _among(
        self, embedding: torch.Tensor, labels: torch.Tensor, studies: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        del studies, generator
        return prototype_loss(embedding, self.prototypes, labels, self.below, self.temperature)


def prototype_loss(
    embedding: torch.Tensor, prototypes: torch.Tensor, labels: torch.Tensor, below: torch.Tensor, temperature: float
) -> torch.Tensor:
    r"""Return the cross-entropy of the cosines to one direction per label, aware of the ontology.

    A cell of a coarse label may be of any label below it, so the probabilities of these are summed; the labels above
    a cell's own are left out, because they are not wrong: with :math:`B` the label and those below it, and :math:`A`
    those above it,

    .. math:: -\log \frac{\sum_{k \in B} \exp(z \cdot w_k / \tau)}{\sum_{k \notin A} \exp(z \cdot w_k / \tau)}.

    Parameters
    ----------
    embedding
        (n, latent_dim) unit rows.
    prototypes
        (n_labels, latent_dim), of any length.
    labels
        (n,) label codes.
    below
        (n_labels, n_labels): `below[a, b]` says that b is a, or a descendant of a.
    temperature
        Divides the cosines.
    """
    logits = embedding @ functional.normalize(prototypes).T / temperature  # (n, n_labels)
    own = below[labels]
    above = below.T[labels] & ~own
    right = logits.masked_fill(~own, -torch.inf).logsumexp(1)
    return (logits.masked_fill(above, -torch.inf).logsumexp(1) - right).mean()
