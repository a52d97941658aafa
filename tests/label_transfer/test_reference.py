from __future__ import annotations

from dataclasses import replace

import numpy as np

from helpers.references import Rows, reference_of, tree_of, unit
from scim.label_transfer import LabelReference

NAMES = ("T cell", "B cell", "monocyte", "platelet")


def test_means_by_hand():
    X = unit(np.array([[1, 0], [0, 1], [1, 1], [0, -1], [5, 5]]))
    found = reference_of(X, [0, 0, 1, 1, -1], [0, 0, 0, 1, 1], *NAMES[:2])
    np.testing.assert_allclose(found.centroids, unit(np.array([[1, 1], [1, 1], [0, -1]])), atol=1e-6)
    assert found.centroid_labels.tolist() == [0, 1, 1]
    assert found.centroid_studies.tolist() == [0, 0, 1]
    np.testing.assert_allclose(found.label_weights, [1 / np.sqrt(2)] * 2)


def test_cells_are_taken_evenly_and_studies_with_most_cells():
    random = np.random.default_rng(0)
    sizes = np.r_[np.arange(1, 20), 250]  # studies of label 0; the last is larger than what is averaged
    studies = np.repeat(np.arange(20), sizes)
    X = unit(random.normal(size=(len(studies), 3)))
    read = []

    class Counting(Rows):
        def vectors(self, ids):
            read.extend(ids)
            return X[ids]

    codes = np.zeros(len(studies), np.int32)
    found = LabelReference.of(Counting(X), codes, studies.astype(np.int32), tree_of("T cell"))
    assert found.centroid_studies.tolist() == list(range(14, 20))
    last = np.flatnonzero(studies == 19)
    chosen = last[np.arange(100) * 250 // 100]
    np.testing.assert_allclose(found.centroids[-1], unit(X[chosen].mean(axis=0)[None])[0], atol=1e-6)
    assert len(read) == sizes[14:19].sum() + 100


def test_the_nearest_centroid_of_each_label():
    rows = unit(np.array([[1, 0], [0, 1], [-1, 0]]))
    reference = reference_of(rows, [0, 0, 2], [0, 1, 0], *NAMES)
    X = unit(np.array([[1, 0], [1, 1]]))
    half = 1 - np.sqrt(0.5)
    expected = [[0, 2, 2, 2], [half, 2, 1 + np.sqrt(0.5), 2]]
    np.testing.assert_allclose(reference.centroid_distances(X), expected, atol=1e-6)
    one = reference.restricted(np.array([1]))  # without label 2 and study 0
    np.testing.assert_allclose(one.centroid_distances(X), [[1, 2, 2, 2], [half, 2, 2, 2]], atol=1e-6)
    none = replace(reference, centroids=rows[:0], centroid_labels=np.empty(0, np.int32))
    assert (none.centroid_distances(X) == 2).all()


def test_a_restricted_reference_has_weights_and_centroids_of_its_cells():
    X = unit(np.random.default_rng(0).normal(size=(400, 3)))
    studies = np.repeat(np.arange(8), [60, 60, 60, 60, 60, 60, 30, 10])
    reference = reference_of(X, np.zeros(400), studies, "T cell")
    last = np.arange(390, 400)
    assert reference.centroid_studies.tolist() == list(range(6))  # studies 6 and 7 are the smallest
    assert len(reference.restricted(last).centroids) == 0
    again = reference.restricted(last, Rows(X))
    np.testing.assert_allclose(again.centroids, unit(X[last].mean(axis=0)[None]), atol=1e-6)
    np.testing.assert_allclose(again.label_weights, [1 / np.sqrt(10)], rtol=1e-6)


def test_marked_duplicates_are_eligible_when_they_are_kept():
    X = unit(np.random.default_rng(0).normal(size=(4, 3)))
    codes, studies = np.array([0, 0, 1, -1], np.int32), np.zeros(4, np.int32)
    marked = np.array([False, True, False, True])
    reference = LabelReference.of(Rows(X), codes, studies, tree_of("T cell", "B cell"), marked)
    assert reference.eligible().tolist() == [True, False, True, False]
    assert reference.eligible(collapse=False).tolist() == [True, True, True, False]
    assert reference.eligible(labels=np.array([False, True])).tolist() == [False, False, True, False]
    np.testing.assert_allclose(reference.centroids, X[[0, 2]], atol=1e-6)
    np.testing.assert_allclose(reference.label_weights, [1, 1])
