from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from helpers import oracles
from scim.training.evaluation import connected, embedding_scores, purity
from scim.training.evaluation._embedding_scores import MEASURES

T, CD4, B, NK = "T cell", "CD4-positive, alpha-beta T cell", "B cell", "natural killer cell"


def test_purity_by_hand():
    labels = [T, T, CD4, CD4, B, B]
    neighbours = [[2, 4, 1, 5], [4, 5, 2, 0], [0, 4, 3, 1], [0, 1, 5, 4], [0, 5, 1, 2], [0, -1, -1, -1]]
    found = purity(np.array(neighbours), labels)
    # T: three others count as T cells, the CD4 among them; of the three nearest two, then one, are such. CD4: the
    # only neighbour, a T cell, is less specific and does not count. B: the nearest is no B cell.
    np.testing.assert_allclose(found, [2 / 3, 1 / 3, np.nan, np.nan, 0, 0])


def test_purity_across_studies_by_hand():
    labels, studies = [T, CD4, T, B, B, NK], ["x", "y", "y", "y", "x", "x"]
    neighbours = [[1, 3, 2], [0, 4, 5], [4, 0, 5], [5, 4, 0], [3, 1, 2], [1, 2, 3]]
    found = purity(np.array(neighbours), labels, studies)
    # the first T cell: two of the other study count, of the two nearest one. CD4: none of the other study. The T
    # cell of y: one, and the nearest is B. B: one each, found by the second. NK: nowhere else.
    np.testing.assert_allclose(found, [1 / 2, np.nan, 0, 0, 1, np.nan])


def test_purity_without_a_neighbour_that_counts_is_nan():
    assert np.isnan(purity(np.array([[1], [-1]]), [CD4, T])).all()


def test_connectivity_by_hand():
    # 0-1-2 are connected by one edge each way; 3 only through the B cell 4; 5 is a neighbour of 4 alone
    neighbours = np.array([[1], [0], [1], [4], [5], [4]])
    found = connected(neighbours, ["a", "a", "a", "a", "b", "b"])
    assert found.tolist() == [True, True, True, False, True, True]


def test_of_equal_components_one_is_the_largest():
    found = connected(np.array([[1], [0], [3], [2]]), ["a"] * 4)
    assert found.tolist() == [True, True, False, False]


def mixed(n=90, seed=0):
    random = np.random.default_rng(seed)
    labels = np.array(["a", "b", "c"], dtype=object)[np.arange(n) % 3]
    studies = np.array(["x", "y"], dtype=object)[random.integers(0, 2, n)]
    X = oracles.unit(random.normal(size=(n, 4)) + 2 * np.eye(4)[np.arange(n) % 3])
    return X, labels, studies


def test_scores_of_an_embedding_are_their_definitions():
    X, labels, studies = mixed()
    found = embedding_scores(X, labels, studies, k=7)
    assert tuple(found) == MEASURES
    assert found["label_silhouette"] == pytest.approx((silhouette_score(X, labels.astype(str)) + 1) / 2)
    assert found["ontology_silhouette"] == pytest.approx(silhouette_score(X, labels.astype(str), metric="cosine"))
    across, within = np.empty(len(X)), np.empty(len(X))
    for i in range(len(X)):
        distance = oracles.cosine_distances(X[[i]], X)[0]
        other = np.flatnonzero(studies != studies[i])
        across[i] = np.mean(labels[other[np.argsort(distance[other])[:7]]] == labels[i])
        others = np.setdiff1d(np.arange(len(X)), [i])
        within[i] = np.mean(labels[others[np.argsort(distance[others])[:7]]] == labels[i])
    for name, shares in (("knn_purity", within), ("knn_purity_across", across)):
        assert found[name] == pytest.approx(np.mean([shares[labels == label].mean() for label in "abc"]))


def test_a_perfect_embedding_has_one_everywhere():
    X = np.repeat(np.eye(3, dtype=np.float32), 8, axis=0)
    labels = np.repeat([T, B, NK], 8)
    found = embedding_scores(X, labels, ["x", "y"] * 12, k=20)  # of which eight at most are alike
    assert set(found.values()) == {1.0}


def test_one_point_is_no_embedding():
    X = np.ones((30, 4), dtype=np.float32)
    found = embedding_scores(X, ["a", "b", "c"] * 10, ["x"] * 15 + ["y"] * 15, k=29)
    assert found["ontology_silhouette"] == 0
    assert found["label_silhouette"] == 0.5
    assert found["batch_silhouette"] == 1  # perfectly mixed
    assert found["knn_purity"] == pytest.approx(1 / 3, abs=0.05)
    assert all(np.isfinite(value) for value in found.values())


def test_one_study_leaves_what_compares_studies_undefined():
    X, labels, _ = mixed()
    found = embedding_scores(X, labels, ["x"] * 90)
    assert np.isnan(found["knn_purity_across"])
    assert np.isnan(found["batch_silhouette"])
    assert found["knn_purity"] > 0


def test_cells_without_a_label_are_left_out():
    X, labels, studies = mixed()
    partly_labelled = labels.copy()
    partly_labelled[:30] = None
    assert embedding_scores(X, partly_labelled, studies) == embedding_scores(X[30:], labels[30:], studies[30:])


def test_a_sample_is_drawn_with_the_seed():
    X, labels, studies = mixed(300)
    a, b, c = (embedding_scores(X, labels, studies, max_cells=100, rng=seed) for seed in (0, 0, 1))
    assert a == b != c
    assert a["knn_purity"] == pytest.approx(embedding_scores(X, labels, studies)["knn_purity"], abs=0.2)


@pytest.mark.parametrize(
    ("labels", "studies", "kwargs", "error", "match"),
    [
        (["a"], ["x", "y"], {}, ValueError, "as long as each other, got 2, 1, 2"),
        ([None, None], ["x", "y"], {}, ValueError, "No cell has a label"),
        (["a", "b"], ["x", "y"], {"k": 0}, ValueError, "k must be at least 1"),
        (["a", "b"], ["x", "y"], {"max_cells": 1.5}, TypeError, "max_cells must be a whole number"),
    ],
)
def test_bad_input_is_named(labels, studies, kwargs, error, match):
    with pytest.raises(error, match=match):
        embedding_scores(np.eye(2), labels, studies, **kwargs)
