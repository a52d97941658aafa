from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from helpers import oracles
from scim import ontology
from scim.training.evaluation import _silhouette, ontology_silhouette, silhouettes

T, CD4, CD8, B, NK = "T cell", "CD4-positive, alpha-beta T cell", "CD8-positive, alpha-beta T cell", "B cell", "NK?"


def cells(n=60, seed=0, names=(T, CD4, CD8, B, NK)):
    random = np.random.default_rng(seed)
    labels = np.array(names, dtype=object)[random.integers(0, len(names), n)]
    batches = np.array(list("xyz"), dtype=object)[random.integers(0, 3, n)]
    return random.normal(size=(n, 5)).astype(np.float32), labels, batches


def loop(X, labels):
    """Compute the silhouette by its definition, pair by pair."""
    distance = 1 - oracles.unit(X).astype(np.float64) @ oracles.unit(X).astype(np.float64).T

    def above(label):
        return ontology.ancestors(term) if (term := ontology.term_id(label)) else frozenset()

    out = []
    for i in range(len(X)):
        term = ontology.term_id(labels[i])
        alike = [j for j in range(len(X)) if j != i and (labels[j] == labels[i] or (term and term in above(labels[j])))]
        others = {}
        for j in range(len(X)):
            if j != i and j not in alike and ontology.term_id(labels[j]) not in above(labels[i]):
                others.setdefault(labels[j], []).append(distance[i, j])
        if not others:
            out.append(np.nan)
        elif not alike:
            out.append(0.0)
        else:
            a, b = np.mean(distance[i, alike]), min(np.mean(distances) for distances in others.values())
            out.append((b - a) / max(a, b))
    return out


@pytest.mark.parametrize("names", [(T, CD4, CD8, B, NK), (T, CD4, "lymphocyte"), ("a", "b"), (T, CD4)])
@pytest.mark.parametrize("n", [5, 60])
def test_the_ontology_silhouette_is_that_of_a_loop(names, n):
    X, labels, _ = cells(n, names=names)
    np.testing.assert_allclose(ontology_silhouette(X, labels), loop(X, labels), atol=1e-6)


def test_descendants_count_as_the_label_and_ancestors_are_ignored():
    X = np.array([[1, 0], [0.6, 0.8], [0, 1], [0, 1]])
    found = ontology_silhouette(X, [T, CD4, B, B])
    assert found[0] == pytest.approx((1 - 0.4) / 1)  # the CD4 cell is a T cell
    assert found[1] == 0  # the only CD4 cell; the T cell is of an ancestor and does not count
    assert found[2] == pytest.approx(1)


def test_free_text_is_related_to_nothing():
    X, labels, _ = cells(names=("a", "b", "c"))
    expected = silhouette_samples(X, labels.astype(str), metric="cosine")
    np.testing.assert_allclose(ontology_silhouette(X, labels), expected, atol=1e-6)


def test_label_silhouettes_are_those_of_scikit_learn(monkeypatch):
    monkeypatch.setattr(_silhouette, "_PAIRS", 500)
    X, labels, batches = cells()
    found = silhouettes(X, labels, batches)
    np.testing.assert_allclose(found.label, silhouette_samples(X, labels.astype(str)), atol=1e-6)


def test_batch_silhouettes_are_those_of_scikit_learn_within_each_label():
    X, labels, batches = cells()
    batches[labels == B] = "x"
    found = silhouettes(X, labels, batches).batch
    assert np.isnan(found[labels == B]).all()  # one batch
    for label in set(labels) - {B}:
        cells_of_label = labels == label
        np.testing.assert_allclose(
            found[cells_of_label], silhouette_samples(X[cells_of_label], batches[cells_of_label].astype(str)), atol=1e-6
        )


def test_a_batch_for_every_cell_has_no_silhouette():
    X, _, _ = cells(4)
    assert np.isnan(silhouettes(X, ["a", "a", "b", "b"], list("wxyz")).batch).all()


def test_one_label_has_no_silhouette():
    X, _, _ = cells(4)
    assert np.isnan(ontology_silhouette(X, [B] * 4)).all()
    assert np.isnan(silhouettes(X, [B] * 4, list("xxyy")).label).all()


def test_cells_at_one_point_are_neither_near_nor_far():
    X = np.tile(oracles.unit(np.random.default_rng(0).normal(size=(1, 16))), (12, 1))
    found = silhouettes(X, ["a", "b"] * 6, ["x", "x", "y", "y"] * 3)
    assert not ontology_silhouette(X, ["a", "b"] * 6).any()
    assert not found.label.any()
    assert not found.batch.any()


def test_cells_without_counts_are_as_far_from_each_other_as_from_all():
    X = np.array([[0, 0], [0, 0], [1, 0]], dtype=np.float32)
    assert ontology_silhouette(X, ["a", "a", "b"]).tolist() == [0, 0, 0]
