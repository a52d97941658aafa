"""The first reading of the cells: a basis of few dimensions that keeps what tells labels apart and what varies most."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim.training.linear._block import Block, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

SKETCH = 256
"""Random directions through which the scatter of the cells is seen; with no more genes than this it is taken whole."""


class Basis(NamedTuple):
    """Orthonormal directions in the space of genes."""

    directions: NDArray[np.float64]
    """(n_genes, rank)"""
    mean: NDArray[np.float64]
    """(n_genes,) weighted mean of the cells"""
    label_mean: NDArray[np.float64]
    """(n_labels, n_genes) by label; of a label that no cell has, the mean of all"""


def find_basis(blocks: Callable[[], Iterable[Block]], random: np.random.Generator) -> Basis:
    r"""Read all cells once.

    The scatter :math:`C = \sum_i w_i (x_i - m)(x_i - m)^T` is never formed: its range is found from
    :math:`C\,\Omega` with a Gaussian :math:`\Omega` (:cite:t:`Halko2011`, their randomised range finder), and the
    means of the labels are added to it, so that no label is lost because it is rare.
    Memory: 2 (n_genes x 256) numbers and the means.
    """
    sums = _Sums(random)
    for block in checked(blocks()):
        sums.add(block)
    return sums.basis()


class _Sums:
    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.weight = np.zeros(0)  # (n_labels,)
        self.total = np.zeros((0, 0))  # (n_labels, n_genes)
        self.omega: NDArray[np.float32] | None = None  # (n_genes, SKETCH)
        self.sketch = np.zeros((0, 0))

    def add(self, block: Block) -> None:
        n_genes, n_labels = block.X.shape[1], max(len(self.weight), int(block.labels.max()) + 1)
        if self.total.shape[1] == 0:
            self.total = np.zeros((0, n_genes))
            if n_genes > SKETCH:
                self.omega = self.random.standard_normal((n_genes, SKETCH), dtype=np.float32)
                self.sketch = np.zeros((n_genes, SKETCH))
        more = n_labels - len(self.weight)
        self.weight, self.total = np.pad(self.weight, (0, more)), np.pad(self.total, ((0, more), (0, 0)))
        weights = block.weights if block.weights is not None else np.ones(len(block.labels))
        self.weight += np.bincount(block.labels, weights, minlength=n_labels)
        weighted = block.X * weights[:, None].astype(np.float32)
        for label in np.unique(block.labels):
            self.total[label] += weighted[block.labels == label].sum(axis=0, dtype=np.float64)
        if self.omega is not None:
            self.sketch += weighted.T @ (block.X @ self.omega)

    def basis(self) -> Basis:
        whole = self.weight.sum()
        if whole == 0:
            msg = "Expected cells to fit to, got no cell with a weight above 0."
            raise ValueError(msg)
        mean = self.total.sum(axis=0) / whole
        present = self.weight > 0
        label_mean = np.where(present[:, None], self.total / np.where(present, self.weight, 1)[:, None], mean)
        if self.omega is None:
            return Basis(np.eye(len(mean)), mean, label_mean)
        sketch = self.sketch / whole - np.outer(mean, mean @ self.omega)
        found = np.concatenate([(label_mean - mean)[present].T, sketch], axis=1)
        found /= np.maximum(np.linalg.norm(found, axis=0), 1e-30)
        # The means add up to 0, and a label may lie in the range of the sketch: directions that say nothing go.
        left, size, _ = np.linalg.svd(found, full_matrices=False)
        return Basis(left[:, size > 1e-6 * size[0]], mean, label_mean)
