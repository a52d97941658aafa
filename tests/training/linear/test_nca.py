from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine
from sklearn.neighbors import NeighborhoodComponentsAnalysis

from scim.training.linear import _pairwise
from scim.training.linear._pairwise import excluded, nca, nca_loss, single_study


def brute_force(L, Z, labels, studies):
    """Compute the maximised probability by its definition, in loops."""
    Y, total = Z @ L.T, 0.0
    for i in range(len(Z)):
        alone = not ((labels == labels[i]) & (studies != studies[i])).any()
        allowed = [j for j in range(len(Z)) if j != i and (studies[j] == studies[i]) == alone]
        p = np.exp(-((Y[i] - Y[allowed]) ** 2).sum(axis=1))
        total += p[labels[allowed] == labels[i]].sum() / p.sum()
    return total / len(Z)


def some_cells(n=30, seed=0):
    random = np.random.default_rng(seed)
    labels, studies = random.integers(3, size=n), random.integers(2, size=n)
    studies[labels == 2] = 1  # a label of a single study
    return random.normal(size=(n, 4)) + labels[:, None] * 0.5, labels, studies


@pytest.mark.parametrize("n_studies", [1, 2])
def test_loss_and_gradient_are_those_of_loops(n_studies, monkeypatch):
    monkeypatch.setattr(_pairwise, "ROWS", 7)
    Z, labels, studies = some_cells()
    studies = studies * (n_studies - 1)
    L = np.random.default_rng(1).normal(size=(2, 4)) * 0.5
    value, gradient = nca_loss(L, Z, labels, studies)
    assert value == pytest.approx(-brute_force(L, Z, labels, studies))
    step, expected = 1e-6, np.zeros((2, 4))
    for place in np.ndindex(2, 4):
        change = np.zeros((2, 4))
        change[place] = step
        ends = [brute_force(L + sign * change, Z, labels, studies) for sign in (1, -1)]
        expected[place] = (ends[1] - ends[0]) / 2 / step
    np.testing.assert_allclose(gradient, expected, atol=1e-7)


@pytest.mark.parametrize("load", [load_iris, load_wine], ids=["iris", "wine"])
def test_with_one_study_it_is_that_of_scikit_learn(load):
    Z, labels = load(return_X_y=True)
    Z = (Z - Z.mean(0)) / Z.std(0)
    start = np.eye(2, Z.shape[1])
    found = nca(Z, labels, start, max_steps=5)
    expected = NeighborhoodComponentsAnalysis(2, init=start, max_iter=5, tol=1e-9).fit(Z, labels).components_
    values = [nca_loss(L, Z, labels, np.zeros_like(labels))[0] for L in (found, expected, start)]
    assert values[0] == pytest.approx(values[1], rel=1e-3)
    assert values[0] < values[2]


def test_an_outlier_does_not_break_the_fit():
    Z = np.array([[0.0], [1], [1e6], [1e6 + 1]])
    value, gradient = nca_loss(np.eye(1), Z, np.array([0, 0, 1, 2]), np.zeros(4, dtype=int))
    assert value == pytest.approx(-0.5)
    assert np.isfinite(gradient).all()


def test_cells_without_neighbours_count_nothing():
    value, gradient = nca_loss(np.eye(1), np.zeros((1, 1)), np.zeros(1, dtype=int), np.zeros(1, dtype=int))
    assert value == 0
    assert not gradient.any()


def test_which_cells_are_no_neighbours():
    labels, studies = np.array([7, 7, 7, 3]), np.array([0, 0, 1, 1])
    alone = single_study(labels, studies)
    assert alone.tolist() == [False, False, False, True]
    # The three of label 7 have neighbours in the other study, the one of label 3 within its study.
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 1]]
    assert excluded(slice(0, 4), alone, studies).astype(int).tolist() == expected
    assert excluded(slice(2, 4), alone, studies).astype(int).tolist() == expected[2:]
    one = studies * 0
    assert excluded(slice(0, 4), single_study(labels, one), one).astype(int).tolist() == np.eye(4).tolist()
