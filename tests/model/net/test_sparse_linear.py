from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scim.model.net import _sparse_linear
from scim.model.net._sparse_linear import SparseLinear


def layer(n_genes: int, width: int) -> tuple[np.ndarray, np.ndarray, SparseLinear]:
    rng = np.random.default_rng(width)
    weight, bias = rng.normal(size=(n_genes, width)), rng.normal(size=width)
    return weight, bias, SparseLinear(weight, bias)


def rows(n: int, n_genes: int, density: float) -> sparse.csr_matrix:
    return sparse.random(n, n_genes, density, format="csr", dtype=np.float32, rng=np.random.default_rng(n))


def apply(linear: SparseLinear, X: sparse.csr_matrix, **kwargs) -> np.ndarray:
    return linear(X.indptr, X.indices, X.data, **kwargs)


@pytest.mark.parametrize(
    ("n", "n_genes", "width", "density"),
    [
        (5, 30, 8, 0.3),
        (3, 1, 1, 1.0),
        (4, _sparse_linear._SEGMENT + 7, 300, 0.01),  # two segments, two tiles
        (_sparse_linear._BLOCK + 3, 20, 2, 0.05),  # two blocks, many empty rows
        (4, 2 * _sparse_linear._SEGMENT, _sparse_linear._TILE, 0.004),
        (0, 30, 8, 0.3),
    ],
)
def test_it_is_the_dense_product(n, n_genes, width, density):
    weight, bias, linear = layer(n_genes, width)
    X = rows(n, n_genes, density)
    got = apply(linear, X)
    assert (got.dtype, got.shape) == (np.float32, (n, width))
    np.testing.assert_allclose(got, X.toarray().astype(float) @ weight + bias, atol=1e-5)


def test_scale_multiplies_the_product_and_not_the_bias():
    weight, bias, linear = layer(30, 8)
    X, scale = rows(6, 30, 0.3), np.linspace(0, 2, 6, dtype=np.float32)
    np.testing.assert_allclose(apply(linear, X, scale=scale), scale[:, None] * (X @ weight) + bias, atol=1e-5)


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_indices_of_any_order_and_type(index):
    weight, bias, linear = layer(30, 8)
    indptr, indices = np.array([0, 3, 5], dtype=index), np.array([7, 2, 29, 4, 4], dtype=index)
    data = np.array([1, 2, 3, 4, 5], dtype=np.float32)
    expected = np.stack([weight[7] + 2 * weight[2] + 3 * weight[29], 9 * weight[4]]) + bias
    np.testing.assert_allclose(linear(indptr, indices, data), expected, atol=1e-5)


def test_rows_inside_a_larger_matrix():
    _, _, linear = layer(30, 8)
    X = rows(9, 30, 0.3)
    np.testing.assert_array_equal(linear(X.indptr[4:8], X.indices, X.data), apply(linear, X)[4:7])


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_a_row_does_not_depend_on_the_other_rows(n_threads):
    _, _, linear = layer(50, 300)
    X = rows(20, 50, 0.2)
    together = apply(linear, X, n_threads=2)
    alone = np.concatenate([apply(linear, X[[i]], n_threads=n_threads) for i in range(20)])
    np.testing.assert_array_equal(together, alone)


def test_the_input_is_unchanged():
    _, _, linear = layer(30, 8)
    X = rows(6, 30, 0.3)
    before = X.copy()
    apply(linear, X, scale=np.full(6, 3, dtype=np.float32))
    np.testing.assert_array_equal(X.data, before.data)
    np.testing.assert_array_equal(X.indices, before.indices)
