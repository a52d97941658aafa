"""Spherical k-means in two levels: unit centroids in groups around unit parents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.numba import njit
from scim.index.ivf._assign import Tree, assign

if TYPE_CHECKING:
    from numpy.typing import NDArray

_N_ITERATIONS = 8
_N_REFINEMENTS = 2
_FLAT = 512
"""Up to so many centroids a row meets them all."""
_PER_PARENT = 256
"""Rows that a parent learns from, on average."""


def train(sample: NDArray[np.float32], n_lists: int, rng: np.random.Generator) -> Tree:
    """Return `n_lists` centroids learned from a sample of unit rows; n_lists <= number of rows.

    Parents are found first, each group gets children by its share of the sample, and at last all children move
    together, as if there were no groups.
    """
    if n_lists <= _FLAT:
        return _single(kmeans(sample, n_lists, rng))
    n_parents = round(n_lists**0.5)
    some = np.sort(rng.choice(len(sample), min(len(sample), _PER_PARENT * n_parents), replace=False))
    parents = kmeans(sample[some], n_parents, rng)
    labels, _ = assign(sample, _single(parents))
    sizes = np.bincount(labels, minlength=n_parents)
    shares = _shares(sizes, n_lists)
    order = np.argsort(labels, kind="stable")
    rows = np.split(order, np.cumsum(sizes)[:-1])
    children = [kmeans(sample[some], share, rng) for some, share in zip(rows, shares, strict=True) if share]
    centroids = np.concatenate(children)
    for _ in range(_N_REFINEMENTS):
        tree = _grouped(parents, centroids)
        labels, best = assign(sample, tree)
        centroids = _moved(sample, labels, best, tree.centroids)
    return _grouped(parents, centroids)


def kmeans(sample: NDArray[np.float32], n_lists: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return `n_lists` unit centroids of unit rows, by Lloyd's iterations; n_lists <= number of rows."""
    centroids = sample[np.sort(rng.choice(len(sample), n_lists, replace=False))]
    for _ in range(_N_ITERATIONS):
        labels, best = assign(sample, _single(centroids))
        centroids = _moved(sample, labels, best, centroids)
    return centroids


def _moved(
    sample: NDArray[np.float32], labels: NDArray[np.int32], best: NDArray[np.float32], centroids: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the means of the lists, scaled to unit length; an empty list takes one of the rows that lie worst."""
    sums = np.zeros(centroids.shape)
    add_rows(sample, labels, sums)
    empty = np.flatnonzero(np.bincount(labels, minlength=len(centroids)) == 0)
    worst = np.argsort(best, kind="stable")[: len(empty)]
    sums[empty] = sample[worst]
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    return (sums / np.where(length > 0, length, 1)).astype(np.float32)


def _single(centroids: NDArray[np.float32]) -> Tree:
    return Tree(centroids[:1], centroids, np.array([0, len(centroids)]))


def _grouped(parents: NDArray[np.float32], centroids: NDArray[np.float32]) -> Tree:
    """Group centroids by their nearest parent; parents without any go."""
    labels, _ = assign(centroids, _single(parents))
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels, minlength=len(parents))
    starts = np.concatenate([[0], np.cumsum(sizes[sizes > 0])])
    return Tree(parents[sizes > 0], centroids[order], starts)


def _shares(sizes: NDArray[np.int64], n_lists: int) -> list[int]:
    """Share `n_lists` out by size, never more than there are rows."""
    exact = sizes * (n_lists / sizes.sum())
    shares = np.minimum(exact.astype(np.int64), sizes)
    for group in np.argsort(shares - exact, kind="stable"):
        if shares.sum() == n_lists:
            break
        shares[group] += shares[group] < sizes[group]
    spare = np.flatnonzero(shares < sizes)
    while shares.sum() < n_lists:  # groups that are smaller than their share left some over
        for group in spare[: n_lists - shares.sum()]:
            shares[group] += 1
        spare = np.flatnonzero(shares < sizes)
    return [int(share) for share in shares]


@njit
def add_rows(rows: NDArray[np.float32], labels: NDArray[np.int32], sums: NDArray[np.float64]) -> None:
    """Add each row to the sum of its label, in the order of the rows."""
    for i in range(rows.shape[0]):
        total, row = sums[labels[i]], rows[i]
        for d in range(row.shape[0]):
            total[d] += row[d]
