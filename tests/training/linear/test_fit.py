from __future__ import annotations

import logging

import numpy as np
import pytest
from sklearn.datasets import load_iris

from scim.training.linear import LINEAR, Block, _fit, fit_linear
from scim.training.linear._pairwise import lmnn, nca
from scim.training.loop._config import OBJECTIVES


@pytest.fixture
def iris():
    X, labels = load_iris(return_X_y=True)
    return X.astype(np.float32), labels


def cut(X, labels, size=40):
    rows = [slice(start, start + size) for start in range(0, len(X), size)]
    return lambda: [Block(X[r], labels[r]) for r in rows]


def fit(method, X, labels, latent_dim=2, seed=0):
    return fit_linear(method, cut(X, labels), latent_dim=latent_dim, random=np.random.default_rng(seed))


def test_every_name_is_an_objective():
    assert set(LINEAR) <= set(OBJECTIVES)


@pytest.mark.parametrize("method", LINEAR)
def test_the_map_is_centred_and_separates_labels(method, iris):
    X, labels = iris
    affine = fit(method, X, labels)
    assert (affine.weight.shape, affine.bias.shape) == ((2, 4), (2,))
    assert affine.weight.dtype == affine.bias.dtype == np.float32
    Z = X @ affine.weight.T + affine.bias
    np.testing.assert_allclose(Z.mean(0), 0, atol=1e-3)
    unit = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    # Setosa is far from the two others, so the angle in the plane of two components cannot separate all three.
    nearest = labels[cosine.argmax(axis=1)]
    assert (nearest == labels)[labels == 0].all()
    assert (nearest == labels).mean() > 0.7


@pytest.mark.parametrize("method", LINEAR)
def test_the_same_generator_gives_the_same_map(method):
    random = np.random.default_rng(0)
    labels = np.arange(120) % 3
    X = (random.normal(size=(120, 300)) + np.eye(3, 300)[labels] * 6).astype(np.float32)
    a, b, c = (fit(method, X, labels, 5, seed) for seed in (0, 0, 1))
    assert np.array_equal(a.weight, b.weight)
    assert np.array_equal(a.bias, b.bias)
    assert not np.array_equal(a.weight, c.weight)


@pytest.mark.parametrize("method", LINEAR)
def test_units_of_the_input_do_not_matter(method, iris):
    X, labels = iris
    a, b = fit(method, X, labels), fit(method, X * np.float32(8), labels)
    ZA, ZB = X @ a.weight.T + a.bias, 8 * X @ b.weight.T + b.bias
    np.testing.assert_allclose(ZA, ZB, atol=0.05 * np.abs(ZA).max())


@pytest.mark.parametrize(("method", "n"), [("whitening", 4), ("lda", 2), ("linear_nca", 4), ("lmnn", 4), ("itml", 4)])
def test_fewer_dimensions_of_a_method_are_logged(method, n, iris, caplog):
    with caplog.at_level(logging.INFO, logger="scim"):
        affine = fit(method, *iris, latent_dim=9)
    assert affine.weight.shape == (n, 4)
    assert f"{method} gives {n} dimensions, not 9" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="scim"):
        fit(method, *iris, latent_dim=2)
    assert "dimensions" not in caplog.text


@pytest.mark.parametrize("method", LINEAR)
def test_constant_and_duplicated_genes(method, iris):
    X, labels = iris
    X = np.concatenate([X, X[:, :1], np.zeros((150, 2), np.float32)], axis=1)
    affine = fit(method, X, labels, 3)
    assert np.isfinite(affine.weight).all()
    Z = X @ affine.weight.T + affine.bias
    assert np.abs(Z).max() < 1e3


def test_the_sample_is_bounded(iris, monkeypatch):
    X, labels = iris
    seen = []

    def spy(Z, *args, **kwargs):
        seen.append(Z.shape)
        return lmnn(Z, *args, **kwargs)

    monkeypatch.setattr(_fit, "N_SAMPLE", 60)
    monkeypatch.setattr(_fit, "lmnn", spy)
    fit("lmnn", X, labels)
    assert seen == [(60, 4)]


def test_studies_reach_the_methods_that_use_them(iris, monkeypatch):
    X, labels = iris
    studies, seen = np.arange(150) % 2, []

    def spy(Z, labels, L, *, studies, **kwargs):
        seen.append(studies)
        return lmnn(Z, labels, L, studies=studies, **kwargs)

    monkeypatch.setattr(_fit, "lmnn", spy)
    blocks = [Block(X, labels, None, studies)]
    fit_linear("lmnn", lambda: blocks, latent_dim=2, random=np.random.default_rng(0))
    np.testing.assert_array_equal(seen[0], studies)


def test_the_weight_of_the_push_reaches_lmnn(iris):
    options = {"latent_dim": 2, "random": np.random.default_rng(0)}
    maps = [fit_linear("lmnn", cut(*iris), **options | {"push_weight": push}) for push in (0.1, 0.9)]
    assert not np.allclose(maps[0].weight, maps[1].weight)


@pytest.mark.parametrize("method", [lmnn, nca])
def test_a_map_can_be_held_at_its_start(method, iris):
    Z, labels = iris[0] - iris[0].mean(0), iris[1]
    start = np.eye(2, 4)
    maps = [method(Z, labels, start, stay=stay, max_steps=20) for stay in (0.0, 0.1, 1e6)]
    free, held, fixed = (np.linalg.norm(m - start) for m in maps)
    assert free > held > 10 * fixed


@pytest.mark.parametrize(
    ("method", "change", "error", "match"),
    [
        ("fisher", {}, ValueError, "objective must be one of .*'lda'.* got 'fisher'"),
        ("lda", {"latent_dim": 0}, ValueError, "latent_dim must be at least 1"),
        ("lda", {"latent_dim": 2.5}, TypeError, "latent_dim must be a whole number"),
    ],
)
def test_bad_arguments_are_named(method, change, error, match, iris):
    with pytest.raises(error, match=match):
        fit_linear(method, cut(*iris), **({"latent_dim": 2, "random": np.random.default_rng(0)} | change))


@pytest.mark.parametrize("method", LINEAR[1:])
def test_one_label_is_an_error(method, iris):
    X, labels = iris
    with pytest.raises(ValueError, match="tells labels apart; expected cells of at least two, got one"):
        fit(method, X, labels * 0)


def test_whitening_needs_no_labels(iris):
    X, labels = iris
    Z = X @ fit("whitening", X, labels * 0, 4).weight.T
    np.testing.assert_allclose(np.cov(Z.T), np.eye(4), atol=0.3)  # shrunk
