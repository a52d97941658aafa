"""Spherical k-means: unit centroids, each row to the centroid with the largest dot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.numba import njit
from scim.index._nearest import nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_N_ITERATIONS = 10
_ROWS_PER_LIST = 64  # rows of the sample that a centroid learns from, on average


def kmeans(rows: NDArray[np.float32], n_lists: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return `n_lists` unit centroids (n_lists, dim) of unit rows, learned on a sample; n_lists <= number of rows."""
    n_sample = min(len(rows), _ROWS_PER_LIST * n_lists)
    sample = rows[np.sort(rng.choice(len(rows), n_sample, replace=False))]
    centroids = sample[np.sort(rng.choice(n_sample, n_lists, replace=False))]
    for _ in range(_N_ITERATIONS):
        distances, labels = nearest(sample, centroids, 1)
        sums = np.zeros(centroids.shape)
        add_rows(sample, labels[:, 0], sums)
        empty = np.flatnonzero(np.bincount(labels[:, 0], minlength=n_lists) == 0)
        farthest = np.argsort(-distances[:, 0], kind="stable")[: len(empty)]
        sums[empty] = sample[farthest]
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centroids = (sums / np.where(length > 0, length, 1)).astype(np.float32)
    return centroids


@njit
def add_rows(rows: NDArray[np.float32], labels: NDArray[np.int64], sums: NDArray[np.float64]) -> None:
    """Add each row to the sum of its label, in the order of the rows."""
    for i in range(rows.shape[0]):
        total, row = sums[labels[i]], rows[i]
        for d in range(row.shape[0]):
            total[d] += row[d]
