"""The two passes over the cells against whole matrices in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf

from scim.training.linear import Block
from scim.training.linear._fit import ledoit_wolf, shrink
from scim.training.linear._moments import SKETCH, find_basis, project


def cells(n=400, n_genes=12, n_labels=3, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(n_labels, size=n)
    scale = np.linspace(2, 0.3, n_genes)
    X = random.normal(size=(n, n_genes)) * scale + 3 * random.normal(size=(n_labels, n_genes))[labels]
    return X.astype(np.float32), labels


def cut(X, labels, weights=None, size=70):
    rows = [slice(start, start + size) for start in range(0, len(X), size)]
    return lambda: [Block(X[r], labels[r], None if weights is None else weights[r]) for r in rows]


def read(blocks, n_sample=50, seed=0):
    random = np.random.default_rng(seed)
    basis = find_basis(blocks, random)
    return basis, project(blocks, basis, n_sample=n_sample, random=random)


def test_moments_with_weights_are_those_of_the_whole():
    X, labels = cells()
    weights = np.random.default_rng(1).random(len(X))
    basis, found = read(cut(X, labels, weights))
    share = weights / weights.sum()
    mean = share @ X
    of_label = np.array([np.average(X[labels == c], axis=0, weights=weights[labels == c]) for c in range(3)])
    off = X - of_label[labels]
    np.testing.assert_array_equal(basis.directions, np.eye(12))  # few genes: the basis is theirs
    np.testing.assert_allclose(basis.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.share, np.bincount(labels, share))
    np.testing.assert_allclose(found.label_mean, of_label - mean, atol=1e-5)
    np.testing.assert_allclose(found.within, (off.T * share) @ off, atol=1e-5)
    np.testing.assert_allclose(found.fourth, share @ (off**2).sum(1) ** 2, rtol=1e-5)
    np.testing.assert_allclose(found.n_cells, 1 / (share**2).sum())
    total = ((X - mean).T * share) @ (X - mean)
    np.testing.assert_allclose(found.within + found.between, total, atol=1e-5)


def test_equal_weights_change_nothing_and_zero_excludes_a_cell():
    X, labels = cells()
    alone = read(cut(X[:200], labels[:200]))[1]
    weights = np.where(np.arange(400) < 200, 7.0, 0.0)
    weighted = read(cut(X, labels, weights))[1]
    np.testing.assert_allclose(weighted.within, alone.within, atol=1e-6)
    assert weighted.n_cells == pytest.approx(alone.n_cells)


def test_blocks_of_any_size_give_the_same():
    X, labels = cells()
    a, b = read(cut(X, labels, size=400)), read(cut(X, labels, size=33))
    np.testing.assert_allclose(a[1].within, b[1].within, atol=1e-5)
    np.testing.assert_array_equal(a[1].labels, b[1].labels)


def test_the_basis_of_many_genes_keeps_labels_and_variance():
    """Fifty directions of variance and six labels in 700 genes; a rare label lies in a direction of its own."""
    random = np.random.default_rng(0)
    labels = np.concatenate([random.integers(5, size=897), [5, 5, 5]])
    X = random.normal(size=(900, 50)) @ random.normal(size=(50, 700)) + 0.01 * random.normal(size=(900, 700))
    X[-3:, 699] += 5
    basis, found = read(cut(X.astype(np.float32), labels))
    Q = basis.directions
    assert Q.shape[1] <= SKETCH + 6
    np.testing.assert_allclose(Q.T @ Q, np.eye(Q.shape[1]), atol=1e-8)
    centred = X - X.mean(0)
    assert np.linalg.norm(centred - centred @ Q @ Q.T) < 0.01 * np.linalg.norm(centred)
    rare = centred[-3:].mean(0)
    assert np.linalg.norm(rare - Q @ (Q.T @ rare)) < 1e-5 * np.linalg.norm(rare)
    scatter = np.cov((X @ Q).T, bias=True)
    np.testing.assert_allclose(found.within + found.between, scatter, atol=1e-3 * np.abs(scatter).max())


def test_a_code_without_cells_is_left_out():
    X, labels = cells()
    found = read(cut(X, labels * 2))[1]
    assert len(found.share) == 3
    assert found.share.sum() == pytest.approx(1)


def test_the_sample_is_drawn_by_weight_without_replacement():
    X, labels = cells(3000)
    rare = np.arange(3000) < 40
    found = read(cut(X, rare.astype(int), np.where(rare, 1 / 40, 1 / 2960)), n_sample=60)[1]
    assert len(np.unique(found.Z, axis=0)) == 60
    assert 15 < found.labels.sum() <= 40  # a weight of one half, but no cell twice
    alike = read(cut(X, rare.astype(int)), n_sample=300)[1]
    assert alike.labels.sum() < 15
    everything = read(cut(X, labels), n_sample=5000)[1]
    np.testing.assert_array_equal(everything.labels, labels)


def test_the_sample_has_its_studies():
    X, labels = cells(90)
    studies = np.arange(90) % 4
    blocks = [Block(X[r], labels[r], None, studies[r]) for r in (slice(0, 50), slice(50, 90))]
    found = read(lambda: blocks, n_sample=90)[1]
    np.testing.assert_array_equal(found.studies, studies)
    assert not read(cut(X, labels))[1].studies.any()


def test_the_same_generator_gives_the_same_sample():
    X, labels = cells()
    a, b, c = (read(cut(X, labels), seed=seed)[1].Z for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_shrinkage_is_that_of_scikit_learn():
    X, labels = cells(60)
    found = read(cut(X, labels))[1]
    off = (X - np.array([X[labels == c].mean(0) for c in range(3)])[labels]).astype(np.float64)
    covariance, shrinkage = sklearn_ledoit_wolf(off, assume_centered=True)
    assert ledoit_wolf(found) == pytest.approx(shrinkage, rel=1e-4)
    assert 0.01 < shrinkage < 0.9
    np.testing.assert_allclose(shrink(found.within, shrinkage), covariance, rtol=1e-4, atol=1e-6)


def test_shrinking_by_hand():
    S = np.diag([3.0, 1.0])
    np.testing.assert_allclose(shrink(S, 0.5), np.diag([2.5, 1.5]), rtol=1e-8)
    assert np.linalg.eigvalsh(shrink(np.diag([3.0, 0.0]), 0)).min() > 0


X, LABELS = cells(10)


@pytest.mark.parametrize(
    ("blocks", "match"),
    [
        ([], "at least one block of cells, got none"),
        ([Block(X[0], LABELS)], r"X must have shape \(n, 12\)"),
        ([Block(X, LABELS), Block(X[:, 1:], LABELS)], r"shape \(n, 12\) in every block, got \(10, 11\)"),
        ([Block(X, LABELS[1:])], r"labels must have one value for each of 10 cells, got shape \(9,\)"),
        ([Block(X, LABELS, np.ones(9))], "weights must have one value for each of 10 cells"),
        ([Block(X, LABELS, None, LABELS[1:])], "studies must have one value for each of 10 cells"),
        ([Block(np.where(X > 1, np.nan, X), LABELS)], "values that are not finite"),
        ([Block(X, LABELS - 1)], "codes from 0, got int64 from -1; leave out"),
        ([Block(X, LABELS.astype(float))], "codes from 0, got float64"),
        ([Block(X, LABELS, np.full(10, -1.0))], "weights must be finite and at least 0"),
        ([Block(X, LABELS, np.zeros(10))], "no cell with a weight above 0"),
        ([Block(X[:0], LABELS[:0])], "no cell with a weight above 0"),
    ],
)
def test_bad_blocks_are_named(blocks, match):
    with pytest.raises(ValueError, match=match):
        find_basis(lambda: blocks, np.random.default_rng(0))


def test_blocks_that_come_once_only_are_named():
    once = iter([Block(X, LABELS)])
    basis = find_basis(lambda: once, np.random.default_rng(0))
    with pytest.raises(ValueError, match="is called twice and must start again"):
        project(lambda: once, basis, n_sample=5, random=np.random.default_rng(0))
