"""Which cells of a batch make triplets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from scim.training.losses._choose import choose
from scim.training.losses._choose_kernel import choose_on_cpu
from scim.training.losses._objective import uniform
from scim.training.losses._pairs import enemy_pairs, friend_pairs

if TYPE_CHECKING:
    from scim.training.loop._config import Mining


class Triplets(NamedTuple):
    """Rows of a batch; the three arrays have one length."""

    anchor: torch.Tensor
    positive: torch.Tensor
    negative: torch.Tensor


def positive_pairs(
    labels: torch.Tensor,
    studies: torch.Tensor,
    lone: torch.Tensor,
    *,
    per_anchor: int | None = None,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """List the ordered pairs of cells of one label and of different studies.

    Parameters
    ----------
    labels
        (n,) label codes.
    studies
        (n,) study codes.
    lone
        (n_labels,) labels whose pairs within a study count too: those that one study alone has, or all.
    per_anchor
        Draw at most so many positives for each cell. Else common labels, whose pairs grow as the square of their
        cells, drown the rare ones.
    generator
        Draws them.

    Returns
    -------
    Anchors, ascending, and their positives.
    """
    pairs = friend_pairs(labels, studies, lone)
    if per_anchor is not None and per_anchor < len(labels):
        drawing = generator.device if generator is not None else labels.device
        keys = torch.rand(pairs.shape, generator=generator, device=drawing).to(labels.device).masked_fill(~pairs, -1)
        value, cell = keys.topk(per_anchor, dim=1)
        anchor, place = (value >= 0).nonzero(as_tuple=True)
        return anchor, cell[anchor, place]
    anchor, positive = pairs.nonzero(as_tuple=True)
    return anchor, positive


def mine(
    embedding: torch.Tensor,
    labels: torch.Tensor,
    studies: torch.Tensor,
    kin: torch.Tensor,
    *,
    lone: torch.Tensor,
    margin: float,
    mining: Mining,
    generator: torch.Generator,
    per_anchor: int | None = None,
) -> Triplets:
    r"""Choose one negative for every pair of positives that has one, as :cite:t:`Heimberg2025` do.

    With the violation :math:`v = d^2(a, p) - d^2(a, n) + m` of unit vectors, a negative, whose label is not kin to
    that of the anchor, is admissible if :math:`0 < v < m` (`"semihard"`) or :math:`v > 0` (`"random"`), and one of
    the admissible is drawn, each alike; `"hardest"` takes the largest :math:`v > 0`.

    Parameters
    ----------
    embedding
        (n, latent_dim) unit rows.
    labels, studies, lone, per_anchor
        See :func:`positive_pairs`.
    kin
        (n_labels, n_labels) labels that are not each other's negatives.
    margin
        :math:`m`.
    mining
        The rule.
    generator
        Draws the negatives, and the positives if `per_anchor` asks for it.
    """
    anchor, positive = positive_pairs(labels, studies, lone, per_anchor=per_anchor, generator=generator)
    negative = choose_negatives(
        squared_distances(embedding.detach()),
        enemy_pairs(labels, kin),
        anchor,
        positive,
        margin=margin,
        mining=mining,
        generator=generator,
    )
    found = negative >= 0
    return Triplets(anchor[found], positive[found], negative[found])


def squared_distances(embedding: torch.Tensor) -> torch.Tensor:
    """Return the squared distances of unit rows, (n, n)."""
    dots = embedding @ embedding.T
    return dots.mul_(-2).add_(2).clamp_(min=0)  # in place: new memory costs more than the arithmetic


def choose_negatives(
    distances: torch.Tensor,
    enemies: torch.Tensor,
    anchor: torch.Tensor,
    positive: torch.Tensor,
    *,
    margin: float,
    mining: Mining,
    generator: torch.Generator,
) -> torch.Tensor:
    """Choose a negative for each pair, -1 where none is admissible, in the way that is fastest where they are."""
    if mining == "hardest":
        nearest = distances.masked_fill(~enemies, torch.inf).min(dim=1)
        found = nearest.values[anchor] < distances[anchor, positive] + margin
        return nearest.indices[anchor].masked_fill(~found, -1)
    random = uniform(len(anchor), generator, distances.device)
    if distances.device.type != "cpu":
        return choose(distances, enemies, anchor, positive, margin=margin, farther=mining == "semihard", uniform=random)
    arrays = (tensor.contiguous().numpy() for tensor in (distances, enemies, anchor, positive))
    return torch.from_numpy(choose_on_cpu(*arrays, margin=margin, farther=mining == "semihard", uniform=random.numpy()))
