from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_iris

from helpers.metrics import class_separation
from scim.training.linear._pairwise import (
    Pairs,
    bregman_projection,
    components,
    draw_pairs,
    itml,
    squared_distances,
)

HARD = np.inf


def constraints(seed=0, n=30, dim=4):
    random = np.random.default_rng(seed)
    difference = random.normal(size=(n, dim))
    similar = np.arange(n) % 2 == 0
    length = (difference**2).sum(axis=1)
    return Pairs(difference, similar, np.where(similar, 0.8 * length, 1.1 * length))


def reached(A, pairs):
    return ((pairs.difference @ A) * pairs.difference).sum(axis=1)


def test_one_projection_by_hand():
    # v = (2, 0) is to have length 1: alpha = 1/4 - 1, beta = -3/16, A v v' A = diag(4, 0).
    A = np.eye(2)
    step = bregman_projection(A, np.array([2.0, 0.0]), 1.0, 1.0, 0.0, HARD)
    assert step == pytest.approx(-0.75)
    np.testing.assert_allclose(A, np.diag([0.25, 1.0]))


def test_one_projection_is_the_nearest_matrix():
    """Sherman-Morrison: the inverse changes by a multiple of v v', as stationarity requires."""
    v, B = np.array([1.0, -2.0, 0.5]), np.diag([1.0, 0.5, 2.0]) + 0.2
    A = B.copy()
    step = bregman_projection(A, v, -1.0, 7.0, 0.0, HARD)
    assert v @ A @ v == pytest.approx(7.0)
    np.testing.assert_allclose(np.linalg.inv(A), np.linalg.inv(B) + step * np.outer(v, v), atol=1e-12)


def test_with_slack_the_distance_equals_the_bound():
    v, A, bound, slack = np.array([2.0, 0.0]), np.eye(2), 1.0, 3.0
    step = bregman_projection(A, v, 1.0, bound, 0.0, slack)
    assert v @ A @ v == pytest.approx(1 / (1 / bound + step / slack))
    assert 1 < v @ A @ v < 4


def test_a_constraint_that_holds_changes_nothing():
    A = np.eye(2)
    assert bregman_projection(A, np.array([2.0, 0.0]), 1.0, 5.0, 0.0, HARD) == 0
    assert bregman_projection(A, np.array([2.0, 0.0]), -1.0, 3.0, 0.0, HARD) == 0
    assert bregman_projection(A, np.zeros(2), -1.0, 3.0, 0.0, HARD) == 0
    np.testing.assert_array_equal(A, np.eye(2))


def test_hard_constraints_are_kept():
    """Two axes: near along x, apart along y; nothing forbids both."""
    pairs = Pairs(np.array([[2.0, 0], [0, 1], [1, 1]]), np.array([True, False, False]), np.array([1.0, 4.0, 3.0]))
    A = itml(pairs, slack=HARD, max_sweeps=500)
    d = reached(A, pairs)
    assert d[0] <= 1 + 1e-6
    assert d[1] >= 4 - 1e-6
    assert d[2] >= 3 - 1e-6
    np.testing.assert_allclose(A, np.diag([0.25, 4.0]), atol=1e-6)


def test_the_metric_is_optimal():
    """At the optimum the inverse of A is the identity plus the dual variables times v v', all of one sign."""
    pairs = constraints(n=5)
    A = itml(pairs, slack=HARD, max_sweeps=3000)
    kept, bound = reached(A, pairs), pairs.bound
    assert (np.where(pairs.similar, kept - bound, bound - kept) <= 1e-3 * bound).all()
    outer = np.stack([np.outer(v, v).ravel() for v in pairs.difference], axis=1)
    dual, left, _, _ = np.linalg.lstsq(outer, (np.linalg.inv(A) - np.eye(4)).ravel(), rcond=None)
    assert left.sum() < 1e-12
    assert (np.where(pairs.similar, dual, -dual) > -1e-6).all()
    assert np.abs(dual * (kept - bound)).max() < 1e-3  # a constraint that is not at its bound has a dual variable of 0


@pytest.mark.parametrize("slack", [0.1, 1.0, 100.0])
def test_the_metric_stays_positive_definite(slack):
    pairs = constraints(n=200)
    A = itml(pairs, slack=slack)
    np.testing.assert_allclose(A, A.T, atol=1e-12)
    assert np.linalg.eigvalsh(A).min() > 0
    violated = np.where(pairs.similar, 1, -1) * (reached(A, pairs) / pairs.bound - 1)
    before = np.where(pairs.similar, 1, -1) * ((pairs.difference**2).sum(1) / pairs.bound - 1)
    assert np.maximum(violated, 0).mean() < np.maximum(before, 0).mean()


def test_labels_of_iris_are_separated_as_published():
    """metric-learn's own test of its ITML."""
    Z, labels = load_iris(return_X_y=True)
    A = itml(draw_pairs(Z, labels, np.random.default_rng(0)), max_sweeps=1000)
    assert class_separation(Z @ components(A, Z, 4).T, labels) < 0.2


def test_pairs_are_of_a_label_or_not():
    random = np.random.default_rng(0)
    labels = np.array([5] * 30 + [2] * 8 + [9] * 2)
    Z = labels[:, None] + np.stack([np.arange(40), np.zeros(40)], axis=1) * [[1e-3, 0.0]]
    pairs = draw_pairs(Z, labels, random)
    assert len(pairs.bound) <= 180
    far = np.abs(pairs.difference[:, 1]) > 0.5
    np.testing.assert_array_equal(far, ~pairs.similar)
    assert 0.4 < pairs.similar.mean() <= 0.5
    assert len(np.unique(pairs.bound)) == 2
    assert pairs.bound[pairs.similar][0] < pairs.bound[~pairs.similar][0]


def test_the_number_of_pairs_is_bounded():
    Z = np.random.default_rng(0).normal(size=(200, 3))
    assert len(draw_pairs(Z, np.arange(200) % 50, np.random.default_rng(0)).bound) <= 10_000


def test_components_keep_the_distances():
    random = np.random.default_rng(0)
    Z, root = random.normal(size=(20, 5)), random.normal(size=(5, 5))
    A = root @ root.T
    L = components(A, Z, 5)
    np.testing.assert_allclose(L.T @ L, A, atol=1e-8)
    flat = Z * [1, 1, 1, 0, 0]  # cells in three dimensions need no more
    L = components(A, flat, 3)
    np.testing.assert_allclose(
        squared_distances(flat @ L.T, flat @ L.T), squared_distances(flat @ root, flat @ root), atol=1e-6
    )
