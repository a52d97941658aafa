"""Labels made coarser at random, so that cells of coarse and of fine labels meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scim.training.losses._objective import uniform

if TYPE_CHECKING:
    from scim.training.losses._relations import Relations


def perturb(labels: torch.Tensor, relations: Relations, share: float, generator: torch.Generator) -> torch.Tensor:
    """Replace a share of the labels of a batch by a random parent that the batch has too, each alike.

    The parents of a label are the nearest of its ancestors among the labels of the model. One is present in the batch
    if some cell has it before any is replaced. A cell whose label has no such parent keeps it.

    Parameters
    ----------
    labels
        (n,) label codes.
    relations
        Of the labels.
    share
        Probability that a cell is chosen.
    generator
        Draws the cells and their parents.

    Returns
    -------
    (n,) label codes.
    """
    parents = relations.parents
    present = torch.zeros(len(parents), dtype=torch.bool, device=labels.device)
    present[labels] = True
    options = (parents & present)[labels]  # (n, n_labels)
    chosen = uniform(len(labels), generator, labels.device) < share
    n_options = options.sum(1)
    wanted = (uniform(len(labels), generator, labels.device) * n_options).long().clamp(max=n_options - 1)
    # the place of the option behind `wanted` others
    parent = (options & (options.cumsum(1) == wanted[:, None] + 1)).int().argmax(1)
    return torch.where(chosen & (n_options > 0), parent, labels)
