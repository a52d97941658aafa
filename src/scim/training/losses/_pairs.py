"""Which cells of a batch should be near each other, which far, and of which nothing is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


class Pairs(NamedTuple):
    """Bool tensors (n, n) over the cells of a batch; a pair that is in neither is left out of every loss."""

    friends: torch.Tensor
    """one label; different studies, unless the label is a lone one; not the cell itself"""
    enemies: torch.Tensor
    """labels that are not kin"""

    @property
    def indices(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Anchors and positives, anchors and negatives, as pytorch-metric-learning takes them."""
        anchor, positive = self.friends.nonzero(as_tuple=True)
        other, negative = self.enemies.nonzero(as_tuple=True)
        return anchor, positive, other, negative


def find_pairs(labels: torch.Tensor, studies: torch.Tensor, kin: torch.Tensor, lone: torch.Tensor) -> Pairs:
    """Sort the pairs of a batch.

    Parameters
    ----------
    labels, studies
        (n,) codes.
    kin
        (n_labels, n_labels) labels that are not each other's negatives.
    lone
        (n_labels,) labels whose pairs within a study are friends too: those that one study alone has, or all.
    """
    return Pairs(friend_pairs(labels, studies, lone), enemy_pairs(labels, kin))


def friend_pairs(labels: torch.Tensor, studies: torch.Tensor, lone: torch.Tensor) -> torch.Tensor:
    """Return the friends alone: see :class:`Pairs`."""
    apart = (studies[:, None] != studies[None, :]) | lone[labels][:, None]
    friends = (labels[:, None] == labels[None, :]) & apart
    return friends.fill_diagonal_(fill_value=False)


def enemy_pairs(labels: torch.Tensor, kin: torch.Tensor) -> torch.Tensor:
    """Return the enemies alone: see :class:`Pairs`."""
    return ~kin[labels][:, labels]
