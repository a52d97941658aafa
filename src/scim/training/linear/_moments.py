"""Two passes over the cells: a basis of few dimensions, then moments and a sample in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

SKETCH = 256  # random directions of the sketch of the scatter; with no more genes than this it is taken whole


class Block(NamedTuple):
    """A part of the cells, as the encoder reads them."""

    X: NDArray[np.float32]
    """(n, n_genes) values, standardised if the model does; 0 where a gene was not measured"""
    labels: NDArray[np.int64]
    """(n,) codes from 0"""
    weights: NDArray[np.float64] | None = None
    """(n,) weights of the cells; None: all alike"""
    studies: NDArray[np.int64] | None = None
    """(n,) codes; `"linear_nca"` and `"lmnn"` bring cells of a label in different studies together; None: one study"""


class Basis(NamedTuple):
    """Orthonormal directions in the space of genes."""

    directions: NDArray[np.float64]
    """(n_genes, rank)"""
    mean: NDArray[np.float64]
    """(n_genes,) weighted mean of the cells"""
    label_mean: NDArray[np.float64]
    """(n_labels, n_genes) by label; of a label without cells, the mean of all"""


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
    """effective number of cells of equal weight"""
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


def find_basis(blocks: Callable[[], Iterable[Block]], random: np.random.Generator) -> Basis:
    r"""Read all cells once.

    The scatter :math:`C = \sum_i w_i (x_i - m)(x_i - m)^T` is never formed: its range is found from
    :math:`C\,\Omega` with a Gaussian :math:`\Omega` (:cite:t:`Halko2011`, their randomised range finder), and the
    means of the labels are added to it, so that no label is lost because it is rare.
    Memory: 2 (n_genes x 256) numbers and the means.
    """
    weight, total = np.zeros(0), np.zeros((0, 0))  # (n_labels,), (n_labels, n_genes)
    omega: NDArray[np.float32] | None = None  # (n_genes, SKETCH)
    sketch = np.zeros((0, 0))
    for block in _checked(blocks()):
        n_genes, n_labels = block.X.shape[1], max(len(weight), int(block.labels.max()) + 1)
        if total.shape[1] == 0:
            total = np.zeros((0, n_genes))
            if n_genes > SKETCH:
                omega = random.standard_normal((n_genes, SKETCH), dtype=np.float32)
                sketch = np.zeros((n_genes, SKETCH))
        n_new = n_labels - len(weight)
        weight, total = np.pad(weight, (0, n_new)), np.pad(total, ((0, n_new), (0, 0)))
        weights = _weights(block)
        weight += np.bincount(block.labels, weights, minlength=n_labels)
        weighted = block.X * weights[:, None].astype(np.float32)
        for label in np.unique(block.labels):
            total[label] += weighted[block.labels == label].sum(axis=0, dtype=np.float64)
        if omega is not None:
            sketch += weighted.T @ (block.X @ omega)
    if weight.sum() == 0:
        msg = "Expected cells to fit to, got no cell with a weight above 0."
        raise ValueError(msg)
    mean, present = total.sum(axis=0) / weight.sum(), weight > 0
    label_mean = np.where(present[:, None], total / np.where(present, weight, 1)[:, None], mean)
    if omega is None:
        return Basis(np.eye(len(mean)), mean, label_mean)
    sketch = sketch / weight.sum() - np.outer(mean, mean @ omega)
    return Basis(_orthonormal(np.concatenate([(label_mean - mean)[present].T, sketch], axis=1)), mean, label_mean)


def _orthonormal(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an orthonormal basis of columns; the means add up to 0, so not all are independent."""
    directions /= np.maximum(np.linalg.norm(directions, axis=0), 1e-30)
    left, size, _ = np.linalg.svd(directions, full_matrices=False)
    return left[:, size > 1e-6 * size[0]]


def project(
    blocks: Callable[[], Iterable[Block]], basis: Basis, *, n_sample: int, random: np.random.Generator
) -> Projected:
    """Read all cells again.

    The sample are the cells with the highest keys log(u) / weight, as :cite:t:`Efraimidis2006` draw without
    replacement. Memory: (rank x rank) numbers, and (n_sample x rank) for the sample, whatever the number of cells.
    """
    rank, n_labels = basis.directions.shape[1], len(basis.label_mean)
    directions = basis.directions.astype(np.float32)
    offset = basis.mean.astype(np.float32) @ directions
    label_mean = (basis.label_mean - basis.mean) @ basis.directions
    share, within = np.zeros(n_labels), np.zeros((rank, rank))
    fourth = squares = 0.0
    keys, sample, codes = np.zeros(0), np.zeros((0, rank)), np.zeros((0, 2), dtype=np.int64)
    for block in _checked(blocks()):
        weights = _weights(block)
        Z = (block.X @ directions - offset).astype(np.float64)
        off = Z - label_mean[block.labels]
        share += np.bincount(block.labels, weights, minlength=n_labels)
        within += (off.T * weights) @ off
        fourth += float(weights @ np.square((off**2).sum(axis=1)))
        squares += float(weights @ weights)
        studies = np.zeros_like(block.labels) if block.studies is None else block.studies
        drawn = np.flatnonzero(weights > 0)
        keys = np.concatenate([keys, np.log(random.random(len(drawn))) / weights[drawn]])
        best = np.sort(np.argsort(-keys, kind="stable")[:n_sample])  # in the order of reading
        keys, sample = keys[best], np.concatenate([sample, Z[drawn]])[best]
        codes = np.concatenate([codes, np.stack([block.labels, studies], axis=1)[drawn]])[best]
    total, present = share.sum(), share > 0
    moments = share[present] / total, label_mean[present], within / total, float(fourth / total)
    return Projected(*moments, float(total**2 / squares), sample, *codes.T)


def leading(V: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return the last n columns of V as rows, the last first, each with a positive largest entry.

    Eigenvectors come with ascending eigenvalues, and without a sign.
    """
    directions = V[:, ::-1][:, :n].T
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    return directions * np.where(largest < 0, -1.0, 1.0)


def _weights(block: Block) -> NDArray[np.float64]:
    return np.ones(len(block.labels)) if block.weights is None else block.weights


def _checked(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield the blocks that have cells; raise an error if one is invalid, or there is none."""
    n_genes = None
    for block in blocks:
        n_genes = block.X.shape[-1] if n_genes is None else n_genes
        _check(block, n_genes)
        if len(block.labels) > 0:
            yield block
    if n_genes is None:
        msg = "Expected at least one block of cells, got none; `blocks` is called twice and must start again each time."
        raise ValueError(msg)


def _check(block: Block, n_genes: int) -> None:
    X, labels, weights, studies = block
    if X.ndim != 2 or X.shape[1] != n_genes:
        msg = f"X must have shape (n, {n_genes}) in every block, got {X.shape}."
        raise ValueError(msg)
    for name, values in (("labels", labels), ("weights", weights), ("studies", studies)):
        if values is not None and values.shape != X.shape[:1]:
            msg = f"{name} must have one value for each of {len(X)} cells, got shape {values.shape}."
            raise ValueError(msg)
    if not np.isfinite(X).all():
        msg = f"X has {int((~np.isfinite(X)).sum())} values that are not finite; genes not measured must be 0."
        raise ValueError(msg)
    if labels.dtype.kind not in "iu" or (labels < 0).any():
        msg = f"labels must be codes from 0, got {labels.dtype} from {labels.min()}; leave out cells without a label."
        raise ValueError(msg)
    if weights is not None and not (np.isfinite(weights).all() and (weights >= 0).all()):
        msg = "weights must be finite and at least 0."
        raise ValueError(msg)
