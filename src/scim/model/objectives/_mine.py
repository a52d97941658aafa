"""Which cells of a batch make triplets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from scim.model.training._config import Mining

_CHUNK_BYTES = 64_000_000
"""Bound on the (pairs x cells) matrices in flight."""


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
    apart = (studies[:, None] != studies[None, :]) | lone[labels][:, None]
    pairs = (labels[:, None] == labels[None, :]) & apart
    pairs.fill_diagonal_(fill_value=False)
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
    r"""Choose one negative for every pair of positives that has one.

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
    embedding = embedding.detach()
    distances = (2 - 2 * embedding @ embedding.T).clamp(min=0)  # (n, n)
    enemies = ~kin[labels][:, labels]  # (n, n)
    anchor, positive = positive_pairs(labels, studies, lone, per_anchor=per_anchor, generator=generator)
    step = max(1, _CHUNK_BYTES // (16 * max(1, len(labels))))
    parts = []
    for start in range(0, len(anchor), step):
        a, p = anchor[start : start + step], positive[start : start + step]
        violation = distances[a, p][:, None] - distances[a] + margin  # (pairs, n)
        parts.append(Triplets(a, p, _choose(violation, enemies[a], margin, mining, generator)))
    return _joined(parts, anchor)


def admissible(violation: torch.Tensor, enemies: torch.Tensor, margin: float, mining: Mining) -> torch.Tensor:
    """Say which cells may be the negative of each pair: bool, shape (pairs, n)."""
    inside = enemies & (violation > 0)
    return inside & (violation < margin) if mining == "semihard" else inside


def _choose(
    violation: torch.Tensor, enemies: torch.Tensor, margin: float, mining: Mining, generator: torch.Generator
) -> torch.Tensor:
    """Return the negative of each pair, -1 where there is none."""
    allowed = admissible(violation, enemies, margin, mining)
    if mining == "hardest":
        chosen = violation.masked_fill(~allowed, -torch.inf).argmax(1)
        return chosen.masked_fill(~allowed.any(1), -1)
    # The r-th of the admissible, r uniform: one random number a pair instead of one a cell.
    rank = allowed.cumsum(1, dtype=torch.int32)
    n = rank[:, -1:]
    random = torch.rand(n.shape, generator=generator, device=generator.device).to(n.device)
    r = (random * n).to(torch.int32).clamp(max=n - 1) + 1
    return torch.searchsorted(rank, r).squeeze(1).masked_fill(n.squeeze(1) == 0, -1)


def _joined(parts: list[Triplets], like: torch.Tensor) -> Triplets:
    if not parts:
        none = like.new_empty(0)
        return Triplets(none, none, none)
    anchor, positive, negative = (torch.cat(part) for part in zip(*parts, strict=True))
    found = negative >= 0
    return Triplets(anchor[found], positive[found], negative[found])
