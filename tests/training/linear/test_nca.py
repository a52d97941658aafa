from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine
from sklearn.neighbors import NeighborhoodComponentsAnalysis

from scim.training.linear import _nca
from scim.training.linear._across import barred, lone
from scim.training.linear._nca import gain, nca


def brute_force(L, Z, labels, studies):
    """What is maximised, as it is written, in loops."""
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
    studies[labels == 2] = 1  # a label that one study alone has
    return random.normal(size=(n, 4)) + labels[:, None] * 0.5, labels, studies


@pytest.mark.parametrize("one", [True, False], ids=["one study", "two studies"])
def test_gain_and_gradient_are_those_of_loops(one, monkeypatch):
    monkeypatch.setattr(_nca, "ROWS", 7)
    Z, labels, studies = some_cells()
    studies = studies * (not one)
    L = np.random.default_rng(1).normal(size=(2, 4)) * 0.5
    value, gradient = gain(L, Z, labels, studies)
    assert value == pytest.approx(brute_force(L, Z, labels, studies))
    step, expected = 1e-6, np.zeros((2, 4))
    for place in np.ndindex(2, 4):
        change = np.zeros((2, 4))
        change[place] = step
        ends = [brute_force(L + sign * change, Z, labels, studies) for sign in (1, -1)]
        expected[place] = (ends[0] - ends[1]) / 2 / step
    np.testing.assert_allclose(gradient, expected, atol=1e-7)


@pytest.mark.parametrize("load", [load_iris, load_wine], ids=["iris", "wine"])
def test_with_one_study_it_is_that_of_scikit_learn(load):
    Z, labels = load(return_X_y=True)
    Z = (Z - Z.mean(0)) / Z.std(0)
    start = np.eye(2, Z.shape[1])
    own = nca(Z, labels, start, max_steps=5)
    theirs = NeighborhoodComponentsAnalysis(2, init=start, max_iter=5, tol=1e-9).fit(Z, labels).components_
    one = np.zeros_like(labels)
    assert gain(own, Z, labels, one)[0] == pytest.approx(gain(theirs, Z, labels, one)[0], rel=1e-3)
    assert gain(own, Z, labels, one)[0] > gain(start, Z, labels, one)[0]


def test_a_far_cell_is_no_obstacle():
    Z = np.array([[0.0], [1], [1e6], [1e6 + 1]])
    value, gradient = gain(np.eye(1), Z, np.array([0, 0, 1, 2]), np.zeros(4, dtype=int))
    assert value == pytest.approx(0.5)
    assert np.isfinite(gradient).all()


def test_cells_without_any_other_count_nothing():
    value, gradient = gain(np.eye(1), np.zeros((1, 1)), np.zeros(1, dtype=int), np.zeros(1, dtype=int))
    assert value == 0
    assert not gradient.any()


def test_who_is_no_neighbour():
    labels, studies = np.array([7, 7, 7, 3]), np.array([0, 0, 1, 1])
    alone = lone(labels, studies)
    assert alone.tolist() == [False, False, False, True]
    # The three of label 7 look into the other study, the one of label 3 into its own.
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 1]]
    assert barred(slice(0, 4), alone, studies).astype(int).tolist() == expected
    assert barred(slice(2, 4), alone, studies).astype(int).tolist() == expected[2:]
    one = studies * 0
    assert barred(slice(0, 4), lone(labels, one), one).astype(int).tolist() == np.eye(4).tolist()
