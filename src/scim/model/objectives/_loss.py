"""What training makes small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from scim.model.objectives._mine import Triplets

_TINY = 1e-12  # the square root has no slope at 0


def triplet_loss(embedding: torch.Tensor, triplets: Triplets, margin: float) -> torch.Tensor:
    r"""Return the mean of :math:`\max(\lVert a - p \rVert - \lVert a - n \rVert + m, 0)`; 0 without triplets."""
    if len(triplets.anchor) == 0:
        return embedding.sum() * 0
    anchor = embedding[triplets.anchor]
    near = _distance(anchor, embedding[triplets.positive])
    far = _distance(anchor, embedding[triplets.negative])
    return functional.relu(near - far + margin).mean()


def reconstruction_loss(decoded: torch.Tensor, target: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error over the genes that were observed; `observed` is (n, n_genes), 0 or 1."""
    error = (decoded - target).square() * observed
    return error.sum() / observed.sum().clamp(min=1)


def prototype_loss(
    embedding: torch.Tensor, prototypes: torch.Tensor, labels: torch.Tensor, below: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return the cross-entropy of the cosines to one direction per label, aware of the ontology.

    A cell of a coarse label may be of any label below it, so the probabilities of these are summed; the labels above
    a cell's own are left out, because they are not wrong.

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


def l1_loss(weight: torch.Tensor) -> torch.Tensor:
    """Return the sum of the absolute weights."""
    return weight.abs().sum()


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return ((a - b).square().sum(1) + _TINY).sqrt()
