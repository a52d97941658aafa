from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from helpers.metrics import class_separation
from scim.training.linear import _pairwise
from scim.training.linear._pairwise import lmnn, lmnn_loss, targets


def brute_force(L, Z, labels, near, studies, push=0.5):
    """Compute the loss by its definition, in loops."""
    Y, total, n = Z @ L.T, 0.0, 0
    for i in range(len(Z)):
        alone = not ((labels == labels[i]) & (studies != studies[i])).any()
        others = np.flatnonzero((labels != labels[i]) & (not alone or studies == studies[i]))
        for j in near[i][near[i] >= 0]:
            d = ((Y[i] - Y[j]) ** 2).sum()
            n += 1
            total += (1 - push) * d
            for other in others:
                total += push * max(0.0, 1 + d - ((Y[i] - Y[other]) ** 2).sum())
    return total / n


def some_cells(n=40, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(3, size=n)
    return random.normal(size=(n, 4)) + labels[:, None] * 0.5, labels


def error(Z, labels, k):
    return 1 - cross_val_score(KNeighborsClassifier(k), Z, labels, cv=LeaveOneOut()).mean()


def test_four_cells_by_hand():
    # 0 and 1 pull each other over a distance of 1, 2 and 3 too. Between the labels lie 2 and, across, sqrt 5.
    Z, labels = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 0, 1, 1])
    near = targets(Z, labels, labels * 0, 1)
    assert near.tolist() == [[1], [0], [3], [2]]
    # Each cell: pull 1; impostors at squared distances 1 and 2: 1 + 1 - 1 = 1 and 1 + 1 - 2 = 0.
    value, gradient = lmnn_loss(np.eye(2), Z, labels, near, labels * 0)
    assert value == pytest.approx((1 + 1) / 2)
    # Along y: pull 1, and 1 more for the broken margin, each 2; along x: the impostor, -2; all halved.
    np.testing.assert_allclose(gradient, np.diag([-1.0, 2.0]), atol=1e-12)


@pytest.mark.parametrize("push", [0.0, 0.2, 1.0])
def test_the_weight_of_the_push_by_hand(push):
    """The four cells above: each has a pull of 1 and impostors that break the margin by 1."""
    Z, labels = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 0, 1, 1])
    near = targets(Z, labels, labels * 0, 1)
    value, gradient = lmnn_loss(np.eye(2), Z, labels, near, labels * 0, push=push)
    assert value == pytest.approx((1 - push) * 1 + push * 1)
    # Along y: the pull, 2, and the target of the broken margin, 2; along x: its impostor, -2.
    np.testing.assert_allclose(gradient, np.diag([-2 * push, 2 * (1 - push) + 2 * push]), atol=1e-12)


def test_without_a_push_the_targets_coincide():
    Z, labels = some_cells()
    start = np.eye(2, 4)
    pulled, default = (lmnn(Z, labels, start, push=push) for push in (0.0, 0.5))
    assert np.abs(pulled).max() < 1e-3 < np.abs(default).max()


def test_targets_are_the_nearest_of_the_label_and_may_be_few():
    Z = np.array([[0.0], [1], [3], [1.1], [9]])
    assert targets(Z, np.array([0, 0, 0, 1, 2]), np.zeros(5, dtype=int), 2).tolist() == [
        [1, 2],
        [0, 2],
        [1, 0],
        [-1, -1],
        [-1, -1],
    ]


def test_targets_are_of_other_studies_unless_one_has_them_all():
    Z, labels, studies = np.arange(6.0)[:, None], np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 1])
    assert targets(Z, labels, studies, 2).tolist() == [[3, -1], [3, -1], [3, -1], [2, 1], [5, -1], [4, -1]]


def test_distances_between_studies_shrink():
    """Studies differ along x, by large distances; labels along y."""
    random = np.random.default_rng(0)
    labels, studies = np.arange(120) % 2, np.arange(120) // 60
    Z = np.stack([studies * 8 + random.normal(size=120), labels * 3 + random.normal(size=120)], axis=1)
    apart, together = (lmnn(Z, labels, np.eye(2), studies=s) for s in (None, studies))

    def share(L):
        return np.linalg.norm(L[:, 0]) / np.linalg.norm(L[:, 1])

    assert share(together) < 0.1 < share(apart)


@pytest.mark.parametrize("k", [1, 3, 20])
def test_the_loss_is_that_of_loops(k, monkeypatch):
    monkeypatch.setattr(_pairwise, "ROWS", 7)
    Z, labels = some_cells()
    for studies in (labels * 0, np.where(labels == 2, 1, np.arange(len(Z)) % 2)):
        near, L = targets(Z, labels, studies, k), np.random.default_rng(1).normal(size=(2, 4))
        value, _ = lmnn_loss(L, Z, labels, near, studies)
        assert value == pytest.approx(brute_force(L, Z, labels, near, studies))


@pytest.mark.parametrize("push", [0.5, 0.8])
def test_the_gradient_is_that_of_finite_differences(push):
    Z, labels = some_cells()
    studies = np.where(labels == 2, 1, np.arange(len(Z)) % 2)
    near, L = targets(Z, labels, studies, 3), np.random.default_rng(1).normal(size=(2, 4))
    step, expected = 1e-6, np.zeros((2, 4))
    for place in np.ndindex(2, 4):
        change = np.zeros((2, 4))
        change[place] = step
        ends = [brute_force(L + sign * change, Z, labels, near, studies, push) for sign in (1, -1)]
        expected[place] = (ends[0] - ends[1]) / 2 / step
    np.testing.assert_allclose(lmnn_loss(L, Z, labels, near, studies, push=push)[1], expected, atol=1e-6)


def test_the_loss_never_rises():
    Z, labels = some_cells(90)
    near, one = targets(Z, labels, labels * 0, 3), labels * 0
    maps = [np.eye(2, 4), *(lmnn(Z, labels, np.eye(2, 4), max_steps=n) for n in range(1, 8))]
    losses = [lmnn_loss(L, Z, labels, near, one)[0] for L in maps]
    assert losses[-1] < losses[1] < losses[0]
    assert np.all(np.diff(losses) <= 1e-12)


def test_iris_as_published():
    """Leave one out: mlpack's LMNN labels 96.0 % of the flowers with 3 neighbours, and 96.7 % with 5."""
    Z, labels = load_iris(return_X_y=True)
    L = lmnn(Z, labels, np.eye(4))
    assert error(Z @ L.T, labels, 3) <= 0.04 + 1e-9
    assert error(Z @ L.T, labels, 5) <= 0.034


def test_labels_of_iris_are_separated_as_published():
    """metric-learn's own test of its LMNN with 5 targets."""
    Z, labels = load_iris(return_X_y=True)
    L = lmnn(Z, labels, np.eye(4), n_targets=5)
    assert class_separation(Z @ L.T, labels) < 0.25


def test_wine_is_learned():
    """Raw wine, on whose scales neighbours err on a quarter of the samples."""
    Z, labels = load_wine(return_X_y=True)
    L = lmnn(Z - Z.mean(0), labels, np.diag(1 / Z.std(0)))
    assert error(Z, labels, 3) > 0.2
    assert error(Z @ L.T, labels, 3) <= 0.03


def test_layers_of_labels_are_separated():
    """Stripes as in the paper: a label is thin along y and long along x, and x must not count."""
    random = np.random.default_rng(0)
    labels = np.arange(150) % 5
    Z = np.stack([random.normal(size=150) * 20, labels + random.normal(size=150) * 0.1], axis=1)
    L = lmnn(Z, labels, np.eye(2))
    assert error(Z, labels, 3) > 0.3
    assert error(Z @ L.T, labels, 3) == 0
    assert np.linalg.norm(L[:, 0]) < 0.1 * np.linalg.norm(L[:, 1])


def test_one_label_and_labels_of_one_cell():
    Z, _ = some_cells(5)
    zero = np.zeros(5, dtype=int)
    L = lmnn(Z, zero, np.eye(4))
    assert lmnn_loss(L, Z, zero, targets(Z, zero, zero, 3), zero)[0] < 1e-6
    L = lmnn(Z, np.arange(5), np.eye(4))  # no target neighbours: nothing changes
    np.testing.assert_array_equal(L, np.eye(4))
