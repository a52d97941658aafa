from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg
from sklearn.datasets import load_iris, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from helpers.metrics import class_separation
from scim.training.linear import Block
from scim.training.linear._fit import lda, ledoit_wolf, shrink, whitening
from scim.training.linear._moments import find_basis, leading, project


def read(X, labels, weights=None):
    random = np.random.default_rng(0)
    blocks = [Block(X.astype(np.float32), labels, weights)]
    return project(lambda: blocks, find_basis(lambda: blocks, random), n_sample=10, random=random)


@pytest.fixture(params=[load_iris, load_wine], ids=["iris", "wine"])
def table(request):
    X, labels = request.param(return_X_y=True)
    return X / X.std(axis=0), labels


def test_whitened_cells_have_the_identity_as_covariance_within_labels(table):
    X, labels = table
    found = read(X, labels)
    Z = X @ whitening(found, X.shape[1], shrinkage=0).T
    off = Z - np.array([Z[labels == c].mean(0) for c in range(3)])[labels]
    np.testing.assert_allclose(off.T @ off / len(Z), np.eye(X.shape[1]), atol=1e-4)


def test_distances_after_whitening_are_those_of_mahalanobis(table):
    X, labels = table
    found = read(X, labels)
    Z = X @ whitening(found, X.shape[1]).T
    inverse = np.linalg.inv(shrink(found.within, ledoit_wolf(found)))
    v = X[0] - X[60]
    assert ((Z[0] - Z[60]) ** 2).sum() == pytest.approx(v @ inverse @ v, rel=1e-4)


def test_iris_as_published():
    """metric-learn's own test of the Mahalanobis distance by the covariance of all flowers."""
    X, labels = load_iris(return_X_y=True)
    Z = X @ whitening(read(X, labels * 0), 4, shrinkage=0).T
    assert class_separation(Z, labels) == pytest.approx(0.72981476, abs=1e-4)


def test_whitening_keeps_the_first_principal_components(table):
    X, labels = table
    T = whitening(read(X, labels), 2)
    components = np.linalg.svd(X - X.mean(0), full_matrices=False)[2][:2]
    assert linalg.subspace_angles(T.T, components.T).max() < 1e-3


def test_the_directions_are_those_of_scikit_learn(table):
    X, labels = table
    expected = LinearDiscriminantAnalysis(solver="eigen").fit(X, labels)
    T = lda(read(X, labels), 10, shrinkage=0)
    assert T.shape == (2, X.shape[1])
    np.testing.assert_allclose(T, leading(expected.scalings_[:, 1::-1], 2), rtol=1e-3, atol=1e-3)


def test_directions_are_uncorrelated_within_and_between_labels(table):
    X, labels = table
    found = read(X, labels)
    T, S = lda(found, 2, shrinkage=0.2), shrink(found.within, 0.2)
    np.testing.assert_allclose(T @ S @ T.T, np.eye(2), atol=1e-6)
    between = T @ found.between @ T.T
    ratio = linalg.eigvalsh(found.between, S)[::-1][:2]
    np.testing.assert_allclose(between, np.diag(ratio), atol=1e-6 * ratio[0])


def test_a_weight_is_a_number_of_cells(table):
    """Cells that are repeated 1 to 4 times equal cells with that weight."""
    X, labels = table
    kept = np.flatnonzero((labels != 1) | (np.arange(len(X)) % 4 == 0))
    X, labels = X[kept], labels[kept]
    weights = np.where(labels == 1, 4, 1)
    many = np.repeat(np.arange(len(X)), weights)
    expected = LinearDiscriminantAnalysis(solver="eigen").fit(X[many], labels[many])
    T = lda(read(X, labels, weights.astype(float)), 2, shrinkage=0)
    np.testing.assert_allclose(T, leading(expected.scalings_[:, 1::-1], 2), rtol=1e-3, atol=2e-3)


def test_signs_do_not_depend_on_the_library():
    assert leading(np.array([[9.0, 3.0, 1.0], [9.0, 1.0, -2.0]]), 2).tolist() == [[-1.0, 2.0], [3.0, 1.0]]
