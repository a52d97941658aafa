"""Where the cells of a label lie in a study: the middle of them, and how far queries are from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim._core.numba import threads
from scim.label_transfer._kernels import keep_nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Vectors = Callable[[NDArray[np.int64]], NDArray[np.float32]]
    """Ids to unit embeddings."""

_CELLS = 100
"""Cells of a label in a study that are averaged: a mean of 100 unit rows moves little with more."""

_STUDIES = 6
"""Studies of a label that get a centroid, those with most of its cells: queries pay for each."""

_READ = 65_536


class Centroids(NamedTuple):
    """Means of the cells of one label in one study, by label."""

    X: NDArray[np.float32]
    """(n, dim) unit rows."""

    labels: NDArray[np.int32]
    """(n,) ascending."""

    studies: NDArray[np.int32]
    """(n,) code of the study."""


def centroids_of(vectors: Vectors, codes: NDArray[np.int32], studies: NDArray[np.int32], dim: int) -> Centroids:
    """Average the cells of each label in each study, at most 100 of them evenly from the first to the last.

    Parameters
    ----------
    vectors
        Gives the unit embeddings of ids.
    codes, studies
        (n_ids,) label and study of every id; a negative label = none.
    dim
        Length of an embedding.
    """
    n_studies = int(studies.max(initial=0)) + 1
    labelled = np.flatnonzero(codes >= 0)
    pair = codes[labelled].astype(np.int64) * n_studies + studies[labelled]
    order = np.argsort(pair, kind="stable")
    pairs, first, size = np.unique(pair[order], return_index=True, return_counts=True)
    kept = _largest(pairs // n_studies, size)
    pairs, first, size = pairs[kept], first[kept], size[kept]
    taken = np.minimum(size, _CELLS)
    rows = np.repeat(np.arange(len(pairs)), taken)
    step = np.arange(len(rows)) - np.repeat(np.cumsum(taken) - taken, taken)
    places = first[rows] + step * size[rows] // taken[rows]
    ids = labelled[order[places]].astype(np.int64)
    sums = np.zeros((len(pairs), dim))
    for start in range(0, len(ids), _READ):
        some = slice(start, start + _READ)
        np.add.at(sums, rows[some], vectors(ids[some]))
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    unit = np.divide(sums, norms, out=np.zeros_like(sums), where=norms > 0)
    return Centroids(
        unit.astype(np.float32), (pairs // n_studies).astype(np.int32), (pairs % n_studies).astype(np.int32)
    )


def _largest(labels: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of the pairs of a label that have most cells, ascending."""
    order = np.lexsort((-size, labels))
    ranked = labels[order]
    rank = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    return np.sort(order[rank < _STUDIES])


def near_labels(
    X: NDArray[np.float32], centroids: Centroids, n_labels: int, keep: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return how far each query is from the nearest centroid of each label, cosine distances 0 to 2, (n, n_labels).

    A label without a centroid, or none among those to `keep`, is 2 away.
    """
    near = np.full((len(X), n_labels), 2.0, dtype=np.float32)
    points, labels = centroids.X, centroids.labels
    if keep is not None:
        points, labels = points[keep], labels[keep]
    if len(points):
        with threads():
            keep_nearest(X @ points.T, labels, near)
    return near
