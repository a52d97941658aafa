from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import scim
from helpers import fakes
from scim.model import Encoder, ModelConfig
from scim.model.explain import attributions, average_attributions, draw_pairs, integrated_gradients
from scim.model.net import DenseEncoder, FoldedEncoder, standardize

if TYPE_CHECKING:
    from scipy import sparse


def rows(n: int = 12) -> sparse.csr_matrix:
    return scim.pp.lognorm(scim.datasets.toy(n, rng=3).X.copy())


def make_encoder(seed: int = 0, **how) -> Encoder:
    """An encoder with a batch normalisation that is not the identity."""
    random = torch.Generator().manual_seed(seed)
    encoder = Encoder(ModelConfig(n_genes=how.pop("n_genes", 111), latent_dim=6, **how), random).eval()
    for block in encoder.blocks:
        for values in (block[2].running_mean, block[2].running_var, block[2].weight.data, block[3].weight.data):
            values.copy_(torch.rand(values.shape, generator=random) + 0.1)
    return encoder


@pytest.fixture
def observed():
    seen = np.random.default_rng(1).random(111) < 0.7
    assert not seen.all()
    return seen


def within(X: sparse.csr_matrix, observed: np.ndarray) -> np.ndarray:
    return np.where(observed, X.toarray(), 0).astype(np.float32)


@pytest.mark.parametrize(
    "how",
    [
        {"hidden": (16,), "unit_slopes": True},
        {"hidden": (16, 9), "standardize": False},
        {"hidden": (), "standardize": False},
        {"hidden": ()},
        {"hidden": (8, 8, 8)},
    ],
)
@pytest.mark.parametrize("panel", ["all", "some"])
def test_the_dense_encoder_is_the_one_in_use(how, panel, observed):
    encoder = make_encoder(**how)
    seen = observed if panel == "some" else None
    X = within(rows(), observed) if panel == "some" else rows().toarray()
    dense = DenseEncoder(encoder, seen)
    found = dense(torch.from_numpy(X[:, dense.observed])).numpy()
    np.testing.assert_allclose(found, FoldedEncoder(encoder).encode(X, observed=seen), atol=1e-6)
    mask = None if seen is None else torch.from_numpy(seen)
    np.testing.assert_allclose(found, encoder(torch.from_numpy(X), mask).detach().numpy(), atol=1e-6)


def test_an_encoder_in_training_is_explained_without_dropout():
    encoder = make_encoder(hidden=(16,))
    before = integrated_gradients(DenseEncoder(encoder), rows()[:3], rows()[3:6])
    again = integrated_gradients(DenseEncoder(encoder.train()), rows()[:3], rows()[3:6])
    np.testing.assert_array_equal(before, again)


def by_hand(weight: np.ndarray, bias: np.ndarray, x: np.ndarray, start: np.ndarray, n: int) -> np.ndarray:
    """Trapezoid rule on the gradient of |u(start) - u(point)|^2, u(x) = (Wx + b) / |Wx + b|, written out."""

    def u(v: np.ndarray) -> np.ndarray:
        return v / np.linalg.norm(v)

    origin, total = u(weight @ start + bias), np.zeros(len(x))
    for t in np.linspace(0, 1, n + 1):
        z = weight @ (start + t * (x - start)) + bias
        # d|o - u|^2 = -2 o.du, and du = (I - u u^T) dz / |z|
        gradient = weight.T @ ((np.dot(origin, u(z)) * u(z) - origin) * 2 / np.linalg.norm(z))
        total += gradient * (0.5 if t in (0, 1) else 1) / n
    return total * (x - start)


def test_an_affine_encoder_by_hand():
    encoder = make_encoder(hidden=(), standardize=False, n_genes=7)
    random = np.random.default_rng(0)
    X = random.random((6, 7)).astype(np.float32) * 3
    found = integrated_gradients(DenseEncoder(encoder), X[:3], X[3:])
    weight, bias = (p.detach().numpy().astype(float) for p in (encoder.head.weight, encoder.head.bias))
    expected = [
        by_hand(weight, bias, x.astype(float), y.astype(float), 2000) for x, y in zip(X[:3], X[3:], strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=2e-6)


def trapezoid(encoder: Encoder, x: torch.Tensor, start: torch.Tensor, n: int) -> np.ndarray:
    """Integrated gradients of one pair and any net, by its gradients in float64."""
    weights = torch.full((n + 1, 1), 1 / n, dtype=torch.float64)
    weights[[0, -1]] /= 2
    path = (start + torch.linspace(0, 1, n + 1, dtype=torch.float64)[:, None] * (x - start)).requires_grad_()
    (encoder(path) - encoder(start[None])).square().sum().backward()
    return ((path.grad * weights).sum(0) * (x - start)).numpy()


def test_captum_against_the_trapezoid_rule():
    encoder, X = make_encoder(hidden=(16,), unit_slopes=True), rows(6).toarray()
    dense = DenseEncoder(encoder)
    found = integrated_gradients(dense, X[:3], X[3:], n_steps=300)
    rough = integrated_gradients(dense, X[:3], X[3:], n_steps=300, method="riemann_trapezoid")
    encoder.double()
    exact = torch.from_numpy(X).double()
    expected = [trapezoid(encoder, x, start, 1000) for x, start in zip(exact[:3], exact[3:], strict=True)]
    assert np.abs(expected).max() > 0.005
    np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_allclose(rough, expected, atol=1e-3)


@pytest.mark.parametrize("how", [{"hidden": (16,)}, {"hidden": (), "standardize": False}, {"hidden": (9, 9)}])
def test_attributions_sum_to_the_squared_distance(how, observed):
    encoder, X = make_encoder(seed=2, **how), within(rows(40), observed)
    found = integrated_gradients(DenseEncoder(encoder, observed), X[:20], X[20:], n_steps=200)
    assert np.isnan(found[:, ~observed]).all()
    Z = FoldedEncoder(encoder).encode(X, observed=observed)
    np.testing.assert_allclose(np.nansum(found, axis=1), ((Z[:20] - Z[20:]) ** 2).sum(1), atol=5e-3)


def test_attributions_are_kept_where_the_anchor_is_higher(observed):
    encoder, X = DenseEncoder(make_encoder(hidden=(16,)), observed), within(rows(20), observed)
    signed, kept = integrated_gradients(encoder, X[:10], X[10:]), attributions(encoder, X[:10], X[10:])
    expected = np.where(X[:10] > X[10:], np.abs(signed), 0)
    np.testing.assert_array_equal(kept[:, observed], expected[:, observed])
    assert np.isnan(kept[:, ~observed]).all()
    assert (signed[:, observed] < 0).any()


def test_sparse_dense_and_chunks_are_the_same(monkeypatch):
    encoder, X = DenseEncoder(make_encoder(hidden=(16,))), rows(20)
    dense = integrated_gradients(encoder, X[:10].toarray(), X[10:].toarray())
    np.testing.assert_array_equal(integrated_gradients(encoder, X[:10], X[10:]), dense)
    monkeypatch.setattr("scim.model.explain._attribution._BYTES", 1)  # one pair at a time
    np.testing.assert_allclose(integrated_gradients(encoder, X[:10], X[10:]), dense, atol=1e-6)


def test_equal_cells_have_no_attribution():
    X = rows(4)
    assert not integrated_gradients(DenseEncoder(make_encoder(hidden=(16,))), X, X).any()


def test_gradients_work_in_inference_mode():
    encoder, X = DenseEncoder(fakes.tiny_model().encoder), rows(4)
    expected = integrated_gradients(encoder, X[:2], X[2:])
    with torch.inference_mode():
        np.testing.assert_array_equal(integrated_gradients(encoder, X[:2], X[2:]), expected)


def test_mean_spread_and_interval(monkeypatch):
    encoder, X = DenseEncoder(make_encoder(hidden=(16,))), rows(20)
    values = attributions(encoder, X[:10], X[10:])
    monkeypatch.setattr("scim.model.explain._attribution._BLOCK", 3)
    found = average_attributions(encoder, X[:10], X[10:])
    std = values.std(axis=0, ddof=1)
    np.testing.assert_allclose(found.mean, values.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.std, std, atol=1e-5)
    np.testing.assert_allclose(found.ci, 2.262157 * std / np.sqrt(10), atol=1e-5)  # Student's t, 9 degrees of freedom


def test_one_pair_has_no_spread_and_no_pair_no_mean():
    encoder, X = DenseEncoder(make_encoder(hidden=(16,))), rows(4)
    of_one, of_none = (average_attributions(encoder, X[:n], X[2 : 2 + n]) for n in (1, 0))
    assert np.isfinite(of_one.mean).all()
    assert np.isnan([of_one.std, of_one.ci, of_none.mean, of_none.std, of_none.ci]).all()


@pytest.mark.parametrize(
    ("anchors", "negatives", "message"),
    [
        (np.ones((2, 111)), np.ones((3, 111)), r"Expected anchors and negatives of shape \(n_pairs, 111\), got"),
        (np.ones((2, 5)), np.ones((2, 5)), r"shape \(n_pairs, 111\), got \[\(2, 5\)\]"),
        (np.ones((2, 111)), np.zeros((2, 111)), "2 cells have no value in any observed gene.*leave their pairs out"),
    ],
)
def test_bad_arguments(anchors, negatives, message):
    with pytest.raises(ValueError, match=message):
        integrated_gradients(DenseEncoder(make_encoder(hidden=(4,))), anchors, negatives)


def test_the_oracle_standardises_as_the_net_does():
    X = rows(3).toarray()
    expected = (X - X.mean(axis=1, keepdims=True)) / X.std(axis=1, keepdims=True)
    np.testing.assert_allclose(standardize(torch.from_numpy(X)).numpy(), expected, atol=1e-5)


def test_without_captum_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(ImportError, match=r'pip install "scim-atlas\[explain\]"'):
        attributions(DenseEncoder(make_encoder(hidden=(4,))), rows()[:2], rows()[2:4])


CODES = np.repeat([0, 1, 2, -1], [7, 40, 5, 9])


def test_negatives_are_balanced_by_type():
    pairs = draw_pairs(CODES, 0, [1, 2], 200, np.random.default_rng(0))
    assert set(CODES[pairs.anchors]) == {0}
    assert np.bincount(CODES[pairs.negatives]).tolist() == [0, 100, 100]


def test_cells_are_drawn_evenly():
    pairs = draw_pairs(CODES, 0, [1, 2], 68, np.random.default_rng(0))
    assert set(np.unique(pairs.anchors, return_counts=True)[1]) <= {9, 10}
    drawn, times = np.unique(pairs.negatives, return_counts=True)
    assert set(times[CODES[drawn] == 1]) == {1}
    assert set(times[CODES[drawn] == 2]) <= {6, 7}


def test_anchors_are_paired_with_all_types_though_their_numbers_are_equal():
    codes = np.repeat([0, 1, 2], 2)
    pairs = draw_pairs(codes, 0, [1, 2], 60, np.random.default_rng(0))
    paired = {(int(a), int(codes[n])) for a, n in zip(*pairs, strict=True)}
    assert paired == {(0, 1), (0, 2), (1, 1), (1, 2)}


def test_pairs_are_those_of_the_seed():
    pairs, same, other = (draw_pairs(CODES, 1, [0, 2], 30, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(pairs, same)
    assert not np.array_equal(pairs, other)
