"""One learned direction per label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from scim.model.objectives._relations import Relations


class Prototypes(nn.Module):
    """The cross-entropy of the cosines to one learned direction per label: see :func:`prototype_loss`.

    Attributes
    ----------
    prototypes
        (n_labels, latent_dim), of any length.

    Parameters
    ----------
    relations
        Of the labels.
    latent_dim
        Length of an embedding.
    temperature
        Divides the cosines.
    generator
        Draws the first directions.
    """

    below: torch.Tensor

    def __init__(self, relations: Relations, latent_dim: int, temperature: float, generator: torch.Generator) -> None:
        super().__init__()
        drawn = torch.randn(len(relations.below), latent_dim, generator=generator, device=generator.device)
        self.prototypes = nn.Parameter(drawn.to(relations.below.device))
        self.register_buffer("below", relations.below, persistent=False)
        self.temperature = temperature

    def forward(self, embedding: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of (n, latent_dim) unit rows with (n,) label codes."""
        # Half precision would leave two digits of a cosine, which the temperature then magnifies.
        with torch.autocast(embedding.device.type, enabled=False):
            return prototype_loss(embedding.float(), self.prototypes, labels, self.below, self.temperature)


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
