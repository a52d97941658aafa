"""The negative of each pair, by sorting each anchor's enemies once: on any device."""

from __future__ import annotations

import torch


def choose(
    distances: torch.Tensor,
    enemies: torch.Tensor,
    anchor: torch.Tensor,
    positive: torch.Tensor,
    *,
    margin: float,
    farther: bool,
    uniform: torch.Tensor,
) -> torch.Tensor:
    """Draw one of the admissible negatives of each pair: see :func:`scim.training.losses._mine.mine`.

    The admissible negatives of a pair are a range of the anchor's enemies in the order of their distance, so that two
    searches and one random number say which to take.

    Parameters
    ----------
    distances
        (n, n) squared distances.
    enemies
        (n, n) cells that may be negatives at all.
    anchor, positive
        (n_pairs,) cells.
    margin
        By which a negative may be farther than the positive, and less.
    farther
        Whether it must be farther than the positive.
    uniform
        (n_pairs,) random numbers in [0, 1).

    Returns
    -------
    (n_pairs,) cells, -1 where none is admissible.
    """
    order = distances.masked_fill(~enemies, torch.inf).sort(dim=1)
    # For every cell as the positive, because rows of one length are searched at once: how many enemies come before
    # the first one that is too far, and before the first one that is farther than the positive.
    stop = torch.searchsorted(order.values, distances + margin)[anchor, positive]
    start = torch.searchsorted(order.values, distances, right=True)[anchor, positive] if farther else 0 * stop
    n_admissible = stop - start
    place = start + torch.minimum((uniform * n_admissible).long(), n_admissible - 1)
    found = n_admissible > 0
    return order.indices[anchor, place.masked_fill(~found, 0)].masked_fill(~found, -1)
