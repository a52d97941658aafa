"""The triplet loss, and the mining of its triplets: which negative belongs to each pair of positives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from scim._core.numba import njit, njit_parallel, prange, threads
from scim.training.losses._loss import LabelledLoss, uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from scim.training.loop._config import Distance, Mining

_TINY = 1e-12  # the square root has no slope at 0
_BLOCK = 64  # negatives that the kernel counts together


class Triplets(NamedTuple):
    """Rows of a batch; the three tensors have one length."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor


class TripletLoss(LabelledLoss):
    """The mean of :func:`triplet_loss` over the triplets of :meth:`mine`."""

    def __init__(
        self,
        *labelled: Any,
        margin: float,
        mining: Mining,
        per_anchor: int | None = None,
        distance: Distance = "plain",
    ) -> None:
        super().__init__(*labelled)
        self.margin, self.mining, self.per_anchor, self.distance = margin, mining, per_anchor, distance

    def mine(self, embedding: Tensor, labels: Tensor, studies: Tensor, generator: Generator) -> Triplets:
        r"""Choose one negative for every pair of positives that has one, as :cite:t:`Heimberg2025` do.

        With the violation :math:`v = d^2(a, p) - d^2(a, n) + m`, whatever the `distance` of the loss, a negative is
        admissible if :math:`0 < v < m` (`"semihard"`) or :math:`v > 0` (`"random"`), and one of them is drawn, all
        alike; `"hardest"` takes the largest :math:`v > 0`. The positives are at most `per_anchor` of each cell, or all.
        """
        anchor, positive = self.draw_positives(labels, studies, self.per_anchor, generator)
        distances, negatives = squared_distances(embedding.detach()), self.negatives(labels)
        rule: dict[str, Any] = {"margin": self.margin, "mining": self.mining, "generator": generator}
        negative = choose_negatives(distances, negatives, anchor, positive, **rule)
        found = negative >= 0
        return Triplets(anchor[found], positive[found], negative[found])

    def _labelled_loss(self, embedding: Tensor, labels: Tensor, studies: Tensor, generator: Generator) -> Tensor:
        triplets = self.mine(embedding, labels, studies, generator)
        return triplet_loss(embedding, triplets, self.margin, distance=self.distance)


def triplet_loss(embedding: Tensor, triplets: Triplets, margin: float, *, distance: Distance = "plain") -> Tensor:
    r"""Return the mean of :math:`\max(D(a, p) - D(a, n) + m, 0)`; 0 without triplets.

    D is the Euclidean distance of rows of `embedding` (n, latent_dim), as in :cite:t:`Heimberg2025`, or with
    `distance="squared"` its square, as in :cite:t:`Schroff2015`.
    """
    if len(triplets.anchor) == 0:
        return embedding.sum() * 0
    anchor = embedding[triplets.anchor]
    near, far = ((anchor - embedding[rows]).square().sum(1) for rows in triplets[1:])
    if distance == "plain":
        near, far = (near + _TINY).sqrt(), (far + _TINY).sqrt()
    return functional.relu(near - far + margin).mean()


def squared_distances(embedding: Tensor) -> Tensor:
    """Return the squared distances of rows, (n, n)."""
    squares = embedding.square().sum(1)
    dots = embedding @ embedding.T
    # in place: new memory costs more than the arithmetic
    return dots.mul_(-2).add_(squares[:, None]).add_(squares).clamp_(min=0)


def choose_negatives(
    distances: Tensor,
    negatives: Tensor,
    anchor: Tensor,
    positive: Tensor,
    *,
    margin: float,
    mining: Mining,
    generator: Generator,
) -> Tensor:
    """Choose a negative for each pair, -1 where none is admissible, by the fastest way on the device."""
    if mining == "hardest":
        nearest = distances.masked_fill(~negatives, torch.inf).min(dim=1)
        found = nearest.values[anchor] < distances[anchor, positive] + margin
        return nearest.indices[anchor].masked_fill(~found, -1)
    random, farther = uniform(len(anchor), generator, distances.device), mining == "semihard"
    if distances.device.type != "cpu":
        return choose(distances, negatives, anchor, positive, margin=margin, farther=farther, uniform=random)
    arrays = (tensor.contiguous().numpy() for tensor in (distances, negatives, anchor, positive))
    return torch.from_numpy(choose_on_cpu(*arrays, margin=margin, farther=farther, uniform=random.numpy()))


def choose(
    distances: Tensor,
    negatives: Tensor,
    anchor: Tensor,
    positive: Tensor,
    *,
    margin: float,
    farther: bool,
    uniform: Tensor,
) -> Tensor:
    """Draw one of the admissible negatives of each pair, on any device.

    The admissible negatives of a pair are a range of the anchor's negatives sorted by distance, so that two searches
    and one of the random numbers `uniform` in [0, 1) choose one; -1 where none is admissible.

    A negative is less than `margin` farther than the positive by the squared `distances` (n, n), and with `farther`
    also farther than it. `negatives` (n, n) marks the pairs of unrelated labels.
    """
    order = distances.masked_fill(~negatives, torch.inf).sort(dim=1)
    # For every cell as the positive, because rows of one length are searched at once: how many negatives come before
    # the first that is too far, and before the first that is farther than the positive.
    stop = torch.searchsorted(order.values, distances + margin)[anchor, positive]
    start = torch.searchsorted(order.values, distances, right=True)[anchor, positive] if farther else 0 * stop
    n_admissible = stop - start
    rank = start + torch.minimum((uniform * n_admissible).long(), n_admissible - 1)
    found = n_admissible > 0
    return order.indices[anchor, rank.masked_fill(~found, 0)].masked_fill(~found, -1)


def choose_on_cpu(
    distances: NDArray[np.float32],
    negatives: NDArray[np.bool_],
    anchor: NDArray[np.int64],
    positive: NDArray[np.int64],
    *,
    margin: float,
    farther: bool,
    uniform: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Return what :func:`choose` does, by comparing every pair with all negatives of its anchor; anchors ascend.

    A sort costs more than these comparisons, of which a vector instruction makes sixteen: for 1,000 cells and 80,000
    pairs 12 ms beside 65 ms for the sort alone.
    """
    starts = np.searchsorted(anchor, np.arange(len(distances) + 1))
    negative = np.full(len(anchor), -1, dtype=np.int64)
    with threads():
        _choose(distances, negatives, starts, positive, np.float32(margin), farther, uniform, negative)
    return negative


@njit_parallel
def _choose(
    distances: Any, negatives: Any, starts: Any, positive: Any, margin: Any, farther: Any, uniform: Any, negative: Any
) -> None:
    n = distances.shape[0]
    for a in prange(n):
        if starts[a] < starts[a + 1]:
            near = np.full((n + _BLOCK - 1) // _BLOCK * _BLOCK, np.float32(np.inf))
            cells = np.empty(n, np.int64)
            n_negatives = 0
            for i in range(n):
                if negatives[a, i]:
                    near[n_negatives] = distances[a, i]
                    cells[n_negatives] = i
                    n_negatives += 1
            counts = np.empty((n_negatives + _BLOCK - 1) // _BLOCK, np.float32)
            for q in range(starts[a], starts[a + 1]):
                distance = distances[a, positive[q]]
                low = distance if farther else np.float32(-1)
                index = _draw(near, counts, low, distance + margin, uniform[q])
                if index >= 0:
                    negative[q] = cells[index]


@njit
def _draw(near: Any, counts: Any, low: Any, high: Any, uniform: Any) -> Any:
    """Return the index of a random distance between `low` and `high`, -1 if there is none."""
    total = np.float32(0)
    for b in range(counts.size):
        block = near[b * _BLOCK : (b + 1) * _BLOCK]
        count = np.float32(0)  # of the width of a distance, so that both fill vectors alike
        for i in range(block.size):
            count += np.float32(1) if (block[i] > low) & (block[i] < high) else np.float32(0)
        counts[b] = count
        total += count
    if total == 0:
        return -1
    left = min(np.floor(uniform * total), total - 1)
    b = 0
    while left >= counts[b]:
        left -= counts[b]
        b += 1
    for i in range(b * _BLOCK, (b + 1) * _BLOCK):
        if (near[i] > low) & (near[i] < high):
            if left == 0:
                return i
            left -= 1
    return -1
