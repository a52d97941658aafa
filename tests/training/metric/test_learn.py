"""Metrics learned by gradient, and those with a solver of their own, on rows of any kind."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.neighbors import KNeighborsClassifier

from scim.model import TrainConfig, learn_metric
from scim.training.linear import LINEAR
from scim.training.losses._triplet import Triplets, triplet_loss
from scim.training.metric._learn import BY_GRADIENT

SMALL = TrainConfig(objective="triplet", distance="squared", n_steps=40, batch_size=64, lr=0.03)
CONTRASTIVE = dataclasses.replace(SMALL, objective="contrastive")


def rows_of(n=300, seed=0):
    """Three labels apart along two axes; two others have larger differences that no label explains."""
    random = np.random.default_rng(seed)
    label = np.arange(n) % 3
    signal = np.array([[0, 0], [3, 0], [0, 3]])[label] + random.normal(size=(n, 2)) * 0.5
    return np.hstack([signal, random.normal(size=(n, 2)) * 20]), np.array(["a", "b", "c"])[label]


def accuracy(transform, seed=1):
    (X, labels), (Y, truth) = rows_of(), rows_of(seed=seed)
    return (KNeighborsClassifier(5).fit(transform(X), labels).predict(transform(Y)) == truth).mean()


def test_the_gradient_by_hand():
    """For one triplet that loses, d/dL is 2 L ((a - p)(a - p)' - (a - n)(a - n)')."""
    X = np.array([[0.2, 0.5], [0.3, 0.4], [0.3, 0.5]])
    L = torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    one = Triplets(*map(torch.tensor, ([0], [1], [2])))
    value = triplet_loss(torch.from_numpy(X) @ L.T, one, 0.2, distance="squared")
    value.backward()
    # L (a - p) = (0.1, 0.1) and L (a - n) = (-0.1, 0): 0.02 - 0.01 + 0.2.
    assert value.item() == pytest.approx(0.21)
    near, far = np.array([-0.1, 0.1]), np.array([-0.1, 0.0])
    expected = 2 * L.detach().numpy() @ (np.outer(near, near) - np.outer(far, far))
    np.testing.assert_allclose(L.grad.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("config", [SMALL, dataclasses.replace(SMALL, distance="plain"), CONTRASTIVE])
def test_neighbours_of_new_rows_are_of_the_label(config):
    X, labels = rows_of()
    metric = learn_metric(X, labels, rank=2, config=config, rng=0)
    assert metric.L.shape == (2, 4)
    assert np.linalg.eigvalsh(metric.M).min() > -1e-9
    assert np.linalg.matrix_rank(metric.M) <= 2
    assert accuracy(lambda X: X) < 0.7
    assert accuracy(metric.transform) > 0.98


@pytest.mark.parametrize("config", [SMALL, CONTRASTIVE])
def test_descent_makes_the_loss_of_new_rows_smaller(config):
    """All triplets, or pairs, of new rows, in numpy."""
    X, labels = rows_of()
    first, last = (
        learn_metric(X, labels, config=dataclasses.replace(config, n_steps=n, lr=lr), rng=0)
        for n, lr in ((1, 1e-9), (40, 0.03))
    )
    Y, truth = rows_of(60, seed=2)
    same = truth[:, None] == truth

    def loss(metric):
        d = metric.distances(Y)
        if config.objective == "triplet":
            return np.maximum(d[:, :, None] ** 2 - d[:, None, :] ** 2 + 1, 0)[
                same[:, :, None] & ~same[:, None, :]
            ].mean()
        return np.where(same, d**2 / 2, np.maximum(0, 1 - d) ** 2 / 2).mean()

    assert loss(last) < 0.9 * loss(first)


def test_differences_between_studies_count_less_across_studies():
    random = np.random.default_rng(0)
    label, study = np.arange(400) % 2, np.arange(400) // 200
    noise = random.normal(size=(2, 400))
    X = np.stack([study * 4 + label * 1.0 + noise[0], label * 3 + noise[1]], axis=1)
    config = dataclasses.replace(SMALL, positives="across", mining="hardest")

    def share(studies):
        M = learn_metric(X, label, studies=studies, config=config, rng=0).M
        return M[0, 0] / M[1, 1]

    assert share(study) < share(None)


def test_related_labels_are_not_pushed_apart():
    """T cells and CD4 T cells differ along x; neither differs from B cells along it."""
    random = np.random.default_rng(0)
    names = np.array(["T cell", "CD4-positive, alpha-beta T cell", "B cell"])[np.arange(300) % 3]
    X = random.normal(size=(300, 2))
    X[names == "B cell", 1] += 2
    X[names == "T cell", 0] += 2
    free = np.array(["a", "b", "c"])[np.arange(300) % 3]
    known, unknown = (learn_metric(X, labels, config=SMALL, rng=0).M for labels in (names, free))
    assert known[0, 0] / known[1, 1] < 0.7 * unknown[0, 0] / unknown[1, 1]


@pytest.mark.parametrize("objective", LINEAR)
def test_linear_maps_of_rows(objective):
    X, labels = rows_of()
    metric = learn_metric(X, labels, rank=2, config=TrainConfig(objective=objective), rng=0)
    assert metric.L.shape == (2, 4)
    assert accuracy(metric.transform) > (0.9 if objective not in {"whitening", "itml"} else 0.3)


def test_whitening_is_the_mahalanobis_distance_of_the_covariance_within_labels():
    X, labels = rows_of(3000)
    X[:, 2:] /= 20  # the shrinkage is of no weight where all variances are alike
    M = learn_metric(X, labels, config=TrainConfig(objective="whitening"), rng=0).M
    off = X - np.array([X[labels == name].mean(0) for name in "abc"])[np.arange(3000) % 3]
    np.testing.assert_allclose(M, np.linalg.inv(off.T @ off / 3000), rtol=0.02, atol=0.05)


def test_sparse_rows_and_rows_without_a_label(caplog):
    X, labels = rows_of()
    X = np.where(np.abs(X) > 1, X, 0).astype(np.float32)
    some = labels.astype(object)
    some[::10] = None
    with caplog.at_level(logging.INFO, logger="scim"):
        found = learn_metric(sparse.csr_matrix(X), some, config=SMALL, rng=0)
    assert "30 of 300 rows have no label and are left out" in caplog.text
    kept = np.arange(300) % 10 > 0
    np.testing.assert_allclose(found.L, learn_metric(X[kept], labels[kept], config=SMALL, rng=0).L, atol=1e-5)


def test_a_seed_gives_one_metric_and_the_global_generator_is_not_used():
    before = torch.random.get_rng_state()
    one, same, other = (learn_metric(*rows_of(), config=SMALL, rng=seed).L for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)


X, LABELS = rows_of(30)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"config": TrainConfig()}, "config.objective must be one of .*'triplet', 'contrastive'.* got 'prototypes'"),
        ({"X": X[0]}, r"X must have shape \(n, dim\), got \(4,\)"),
        ({"labels": LABELS[1:]}, r"labels must have one value for each of 30 rows, got shape \(29,\)"),
        ({"studies": LABELS[1:]}, r"studies must have one value for each of 30 rows, got shape \(29,\)"),
        ({"labels": ["a"] * 30}, "tells labels apart; expected rows of at least two, got 1"),
        ({"labels": [None] * 30}, "tells labels apart; expected rows of at least two, got 0"),
        ({"rank": 0}, "rank must lie between 1 and 4, got 0"),
        ({"rank": 5}, "rank must lie between 1 and 4, got 5"),
        ({"X": np.where(X > 1, np.nan, X)}, "values that are not finite"),
    ],
)
def test_bad_arguments_are_named(changes, match):
    given = {"X": X, "labels": LABELS} | changes
    with pytest.raises(ValueError, match=match):
        learn_metric(given.pop("X"), given.pop("labels"), **given)


def test_every_objective_of_distances_is_offered():
    assert set(BY_GRADIENT) == {"triplet", "contrastive"}
