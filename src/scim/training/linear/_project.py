"""The second reading of the cells: their moments in the basis, and a sample of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim.training.linear._block import Block, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from scim.training.linear._basis import Basis


class Projected(NamedTuple):
    """The cells in the basis, around their mean."""

    share: NDArray[np.float64]
    """(n_labels,) weights of the labels, of sum 1; labels without a cell are left out"""
    label_mean: NDArray[np.float64]
    """(n_labels, rank)"""
    within: NDArray[np.float64]
    """(rank, rank) covariance around the means of the labels"""
    fourth: float
    """weighted mean of the fourth power of the distance to the mean of the label"""
    n_cells: float
    """how many cells of equal weight would say as much"""
    Z: NDArray[np.float64]
    """(n_sample, rank) a sample, drawn by weight without replacement"""
    labels: NDArray[np.int64]
    """(n_sample,)"""
    studies: NDArray[np.int64]
    """(n_sample,)"""

    @property
    def between(self) -> NDArray[np.float64]:
        """(rank, rank) covariance of the means of the labels."""
        scatter: NDArray[np.float64] = (self.label_mean.T * self.share) @ self.label_mean
        return scatter


def project(
    blocks: Callable[[], Iterable[Block]], basis: Basis, *, n_sample: int, random: np.random.Generator
) -> Projected:
    """Read all cells once more.

    Memory: (rank x rank) numbers, and (n_sample x rank) for the sample, whatever the number of cells.
    """
    rank, n_labels = basis.directions.shape[1], len(basis.label_mean)
    directions = basis.directions.astype(np.float32)
    offset = basis.mean.astype(np.float32) @ directions
    label_mean = (basis.label_mean - basis.mean) @ basis.directions
    share, within = np.zeros(n_labels), np.zeros((rank, rank))
    fourth = squares = 0.0
    sample = _Sample(n_sample, rank)
    for block in checked(blocks()):
        weights = np.ones(len(block.labels)) if block.weights is None else block.weights
        Z = (block.X @ directions - offset).astype(np.float64)
        off = Z - label_mean[block.labels]
        share += np.bincount(block.labels, weights, minlength=n_labels)
        within += (off.T * weights) @ off
        fourth += float(weights @ np.square((off**2).sum(axis=1)))
        squares += float(weights @ weights)
        studies = np.zeros_like(block.labels) if block.studies is None else block.studies
        sample.add(Z, np.stack([block.labels, studies], axis=1), weights, random)
    total, there = share.sum(), share > 0
    return Projected(
        share[there] / total,
        label_mean[there],
        within / total,
        float(fourth / total),
        float(total**2 / squares),
        sample.Z,
        *sample.codes.T,
    )


class _Sample:
    """The cells with the highest keys log(u) / weight, as :cite:t:`Efraimidis2006` draw without replacement."""

    def __init__(self, size: int, rank: int) -> None:
        self.size = size
        self.keys, self.Z, self.codes = np.zeros(0), np.zeros((0, rank)), np.zeros((0, 2), dtype=np.int64)

    def add(
        self,
        Z: NDArray[np.float64],
        codes: NDArray[np.int64],
        weights: NDArray[np.float64],
        random: np.random.Generator,
    ) -> None:
        drawn = np.flatnonzero(weights > 0)
        keys = np.concatenate([self.keys, np.log(random.random(len(drawn))) / weights[drawn]])
        best = np.sort(np.argsort(-keys, kind="stable")[: self.size])  # in the order of reading
        self.keys = keys[best]
        self.Z = np.concatenate([self.Z, Z[drawn]])[best]
        self.codes = np.concatenate([self.codes, codes[drawn]])[best]
