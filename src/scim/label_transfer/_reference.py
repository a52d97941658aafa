"""Labelled reference cells: labels, studies, and the centroids of each label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from scim._core.cosine import normalize
from scim._core.nearest import nearest
from scim._core.numba import njit_parallel, prange, threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.types import Bools, Floats, Ints, Ints32
    from scim.label_transfer._tree import LabelTree

_CELLS = 100  # of a label in a study that are averaged: a mean of 100 unit rows moves little with more
_STUDIES = 6  # of a label that have a centroid, those with most of its cells: queries pay for each
_READ = 65_536  # embeddings that are in memory at a time


class NeighbourIndex(Protocol):
    """Reference cells by id, such as :class:`scim.index.Index`. A method `release_pages` is called if there is one."""

    @property
    def n_rows(self) -> int:
        """Number of cells."""

    @property
    def dim(self) -> int:
        """Length of an embedding."""

    def query(
        self, X: NDArray[np.float32], k: int, *, allowed: NDArray[np.int64] | None = None, distinct: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return cosine distances, ascending, and ids of the nearest cells, (n, k); `inf` and -1 behind the last."""

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the unit embeddings of ids, (n, dim)."""


class RowIndex:
    """Exact neighbours among distinct unit rows, whose positions are their ids."""

    def __init__(self, X: Floats) -> None:
        self.X = X
        self.n_rows, self.dim = X.shape

    def query(self, X: Floats, k: int, *, allowed: Ints | None = None, distinct: bool = False) -> tuple[Floats, Ints]:
        """Return the nearest rows; `distinct` is always so."""
        del distinct  # no two rows are equal
        with threads():
            return nearest(X, self.X, k, which=allowed)

    def vectors(self, ids: Ints) -> Floats:
        """Return rows."""
        return self.X[ids]


@dataclass(frozen=True)
class LabelReference:
    """Labelled cells by id, their label tree, and the centroids of each label in its largest studies."""

    codes: NDArray[np.int32]
    """(n_ids,) label of each id; -1 = unlabelled, or no cell."""

    studies: NDArray[np.int32]
    """(n_ids,) code of its study, from 0."""

    tree: LabelTree

    label_weights: NDArray[np.float32]
    """(n_labels,) weight of a cell of each label, 1 / sqrt(n) of a label of n cells."""

    centroids: NDArray[np.float32]
    """(n_centroids, dim) unit rows: means of at most 100 cells of a label in a study."""

    centroid_labels: NDArray[np.int32]
    """(n_centroids,) ascending."""

    centroid_studies: NDArray[np.int32]
    """(n_centroids,)."""

    duplicates: NDArray[np.bool_] | None = None
    """(n_ids,) whether a cell is a marked copy of another; `None`: none is. Centroids are made without them."""

    study_names: NDArray[np.object_] | None = None
    """(n_studies,) name of each study, by which an expression reference has it; `None`: there is none."""

    @classmethod
    def of(
        cls,
        index: NeighbourIndex,
        codes: Ints32,
        studies: Ints32,
        tree: LabelTree,
        duplicates: Bools | None = None,
        study_names: NDArray[np.object_] | None = None,
    ) -> Self:
        """Compute weights and centroids; the parameters are as the fields, `index` has the embeddings."""
        primary = codes if duplicates is None else np.where(duplicates, np.int32(-1), codes)
        centroids = _centroids(index, primary, studies)
        weights = label_weights(primary, tree.n_labels)
        return cls(codes, studies, tree, weights, *centroids, duplicates, study_names)

    def eligible(self, *, collapse: bool = True, labels: Bools | None = None) -> Bools:
        """Return which ids are labelled cells, (n_ids,); without duplicates, and of chosen labels (n_labels,) only."""
        eligible = self.codes >= 0
        if collapse and self.duplicates is not None:
            eligible &= ~self.duplicates
        return eligible if labels is None else eligible & labels[self.codes]

    def restricted(self, ids: Ints, index: NeighbourIndex | None = None) -> LabelReference:
        """Return the reference with weights and centroids of eligible cells alone.

        Centroids of a label in a study without eligible cells are dropped. With an `index`, all are computed again.
        """
        codes, studies = self.codes[ids], self.studies[ids]
        weights = label_weights(codes, self.tree.n_labels)
        if index is not None:
            left = np.full_like(self.codes, -1)
            left[ids] = codes
            X, labels, of_study = _centroids(index, left, self.studies)
        else:
            X, labels, of_study = self.centroids, self.centroid_labels, self.centroid_studies
        occurs = np.zeros((self.tree.n_labels, int(self.studies.max(initial=0)) + 1), dtype=np.bool_)
        occurs[codes, studies] = True
        kept = occurs[labels, of_study]
        centroids = X[kept], labels[kept], of_study[kept]
        names = self.study_names
        return LabelReference(self.codes, self.studies, self.tree, weights, *centroids, self.duplicates, names)

    def centroid_distances(self, X: Floats) -> Floats:
        """Return the cosine distance of unit queries (n, dim) to the nearest centroid of each label, (n, n_labels).

        A label without a centroid is at 2.
        """
        distances = np.full((len(X), self.tree.n_labels), 2.0, dtype=np.float32)
        if len(self.centroids):
            with threads():
                keep_nearest(X @ self.centroids.T, self.centroid_labels, distances)
        return distances


def label_weights(codes: Ints32, n_labels: int) -> Floats:
    """Return the weight of a cell of each label, 1 / sqrt(n) of a label of n cells, (n_labels,)."""
    n_cells = np.bincount(codes[codes >= 0], minlength=n_labels)
    return (1 / np.sqrt(np.maximum(n_cells, 1))).astype(np.float32)


def _centroids(index: NeighbourIndex, codes: Ints32, studies: Ints32) -> tuple[Floats, Ints32, Ints32]:
    """Return the mean of at most 100 cells, evenly spaced, of each label in each study; its label and its study."""
    n_studies = int(studies.max(initial=0)) + 1
    labelled = np.flatnonzero(codes >= 0)
    pair = codes[labelled].astype(np.int64) * n_studies + studies[labelled]
    order = np.argsort(pair, kind="stable")
    pairs, first, size = np.unique(pair[order], return_index=True, return_counts=True)
    kept = _largest(pairs // n_studies, size)
    pairs, first, size = pairs[kept], first[kept], size[kept]
    n_averaged = np.minimum(size, _CELLS)
    rows = np.repeat(np.arange(len(pairs)), n_averaged)
    step = np.arange(len(rows)) - np.repeat(np.cumsum(n_averaged) - n_averaged, n_averaged)
    ids = labelled[order[first[rows] + step * size[rows] // n_averaged[rows]]].astype(np.int64)
    sums = np.zeros((len(pairs), index.dim))
    for start in range(0, len(ids), _READ):
        chunk = slice(start, start + _READ)
        np.add.at(sums, rows[chunk], index.vectors(ids[chunk]))
    release_pages(index)  # the cells are all over it
    labels, of_study = np.divmod(pairs, n_studies)
    return normalize(sums).astype(np.float32), labels.astype(np.int32), of_study.astype(np.int32)


def _largest(labels: Ints, size: Ints) -> Ints:
    """Return the positions of the six pairs of each label that have most cells, ascending."""
    order = np.lexsort((-size, labels))
    ranked = labels[order]
    rank = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    return np.sort(order[rank < _STUDIES])


def release_pages(index: NeighbourIndex) -> None:
    """Release the pages of an index that is mapped from files."""
    if hasattr(index, "release_pages"):
        index.release_pages()


@njit_parallel
def keep_nearest(cosines: Floats, labels: Ints32, distances: Floats) -> None:
    """Lower the distance of each query to each label to that of its nearest centroid, at least 0."""
    for i in prange(cosines.shape[0]):
        for j in range(labels.size):
            distance = max(np.float32(1) - cosines[i, j], np.float32(0))
            distances[i, labels[j]] = min(distances[i, labels[j]], distance)
