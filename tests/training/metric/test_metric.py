"""The Mahalanobis distance, by hand and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist

from scim.model import Metric, mahalanobis


def some_rows(n=20, dim=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim))


def test_by_hand():
    # (1, 2) with M = diag(2, 1/2): sqrt(2 * 1 + 4 / 2) = 2. With M = (1, -1)'(1, -1): |1 - 2| = 1.
    A, B = np.zeros((1, 2)), np.array([[1.0, 2.0]])
    assert mahalanobis(A, B, np.diag([2.0, 0.5])) == pytest.approx(2)
    assert mahalanobis(A, B, np.array([[1.0, -1], [-1, 1]])) == pytest.approx(1)
    assert Metric(np.array([[1.0, -1.0]])).distances(A, B) == pytest.approx(1)


@pytest.mark.parametrize("rank", [5, 2, 1])
def test_distances_are_those_of_scipy(rank):
    A, B, L = some_rows(), some_rows(7, seed=1), some_rows(rank, 5, seed=2)
    M = L.T @ L
    expected = cdist(A, B, "mahalanobis", VI=M)
    np.testing.assert_allclose(mahalanobis(A, B, M), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(Metric(L).distances(A, B), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(Metric(L).M, M)


def test_of_one_set_of_rows():
    A = some_rows()
    d = Metric(some_rows(3, 5)).distances(A)
    assert d.shape == (20, 20)
    np.testing.assert_allclose(d, d.T)
    assert not np.diag(d).any()


def test_coordinates_have_the_distances_of_the_metric():
    A, metric = some_rows(), Metric(some_rows(3, 5, seed=1))
    Y = metric.transform(A)
    assert Y.shape == (20, 3)
    np.testing.assert_allclose(cdist(Y, Y), metric.distances(A))


def test_sparse_rows_are_those_of_dense_ones():
    A, metric = some_rows() * (some_rows(seed=3) > 0), Metric(some_rows(3, 5, seed=1))
    for kind in (sparse.csr_matrix, sparse.csr_array):
        np.testing.assert_allclose(metric.distances(kind(A)), metric.distances(A), atol=1e-12)


def test_a_matrix_keeps_its_rank():
    L = some_rows(2, 5)
    metric = Metric.from_matrix(L.T @ L)
    assert metric.L.shape == (2, 5)
    assert repr(metric) == "Metric of 5 dimensions, rank at most 2"
    np.testing.assert_allclose(metric.M, L.T @ L, atol=1e-12)
    assert Metric.from_matrix(np.zeros((3, 3))).L.shape == (0, 3)


@pytest.mark.parametrize(
    ("M", "match"),
    [
        (np.eye(2, 3), r"M must be a square matrix of finite numbers, got shape \(2, 3\)"),
        (np.array([[1.0, 0.5], [0, 1]]), "M must be symmetric"),
        (np.diag([1.0, -0.1]), "M must be positive semi-definite; its smallest eigenvalue is -0.1"),
        (np.diag([1.0, np.nan]), "M must be a square matrix of finite numbers"),
        (np.eye(3), r"Expected rows of 3 values, as the metric has; got shape \(4, 2\)"),
    ],
)
def test_matrices_that_are_no_metrics(M, match):
    with pytest.raises(ValueError, match=match):
        mahalanobis(np.zeros((4, 2)), np.zeros((4, 2)), M)


def test_a_map_is_a_matrix():
    with pytest.raises(ValueError, match=r"L must be a matrix \(rank, dim\) of finite numbers, got shape \(3,\)"):
        Metric(np.zeros(3))
