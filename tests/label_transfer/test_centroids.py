from __future__ import annotations

import numpy as np

from helpers.voting import unit
from scim.label_transfer import Centroids, centroids_of, near_labels


def test_means_by_hand():
    X = unit(np.array([[1, 0], [0, 1], [1, 1], [0, -1], [5, 5]]))
    found = centroids_of(lambda ids: X[ids], np.array([0, 0, 1, 1, -1], np.int32), np.array([0, 0, 0, 1, 1]), 2)
    np.testing.assert_allclose(found.X, unit(np.array([[1, 1], [1, 1], [0, -1]])), atol=1e-6)
    assert found.labels.tolist() == [0, 1, 1]
    assert found.studies.tolist() == [0, 0, 1]


def test_cells_are_taken_evenly_and_studies_with_most_cells():
    random = np.random.default_rng(0)
    sizes = np.r_[np.arange(1, 20), 250]  # studies of label 0; the last is larger than what is averaged
    studies = np.repeat(np.arange(20), sizes)
    X = unit(random.normal(size=(len(studies), 3)))
    read = []

    def vectors(ids):
        read.extend(ids)
        return X[ids]

    found = centroids_of(vectors, np.zeros(len(studies), np.int32), studies.astype(np.int32), 3)
    assert found.studies.tolist() == list(range(14, 20))
    last = np.flatnonzero(studies == 19)
    taken = last[np.arange(100) * 250 // 100]
    np.testing.assert_allclose(found.X[-1], unit(X[taken].mean(axis=0)[None])[0], atol=1e-6)
    assert len(read) == sizes[14:19].sum() + 100


def test_the_nearest_centroid_of_each_label():
    centroids = Centroids(
        unit(np.array([[1, 0], [0, 1], [-1, 0]])), np.array([0, 0, 2], np.int32), np.array([0, 1, 0], np.int32)
    )
    X = unit(np.array([[1, 0], [1, 1]]))
    half = 1 - np.sqrt(0.5)
    np.testing.assert_allclose(near_labels(X, centroids, 4), [[0, 2, 2, 2], [half, 2, 1 + np.sqrt(0.5), 2]], atol=1e-6)
    keep = np.array([False, True, False])
    np.testing.assert_allclose(near_labels(X, centroids, 3, keep), [[1, 2, 2], [half, 2, 2]], atol=1e-6)
    assert (near_labels(X, centroids, 2, np.zeros(3, bool)) == 2).all()
