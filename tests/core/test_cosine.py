"""Unit rows and distances against numpy; these tests run with NUMBA_DISABLE_JIT=1 as well."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import oracles
from scim._core import cosine

from .conftest import clusters


@pytest.fixture
def rows():
    return oracles.unit(clusters(40, 6))


def test_distances(rows):
    which = np.array([[3, -1, 5], [0, 39, 1]])
    found = cosine.measure(rows[:2], rows, which)
    expected = np.take_along_axis(oracles.cosine_distances(rows[:2], rows), which, axis=1)
    expected[0, 1] = np.inf
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(cosine.measure(rows[:2], rows, which[:1])[0], found[0])
    many = np.zeros((1, cosine._CHUNK + 3), np.int64)
    many[0, -1] = 7
    assert cosine.measure(rows[7:8], rows, many)[0, -1] <= 1e-6


def test_distances_are_clipped():
    rows = np.array([[1.1, 0], [-1.1, 0]], dtype=np.float32)
    assert cosine.measure(rows[:1], rows, np.array([[0, 1]])).tolist() == [[0, 2]]


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # numpy's, when nothing is compiled
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_unit_rows(dtype):
    X = clusters(20, 7).astype(dtype)
    X[3] = 0
    found = cosine.unit_rows(X, what="rows")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, oracles.unit(X), atol=1e-6)
    X[[4, 9], 2] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 of 20 rows hold NaN or infinity, the first is row 104"):
        cosine.unit_rows(X, what="rows", first=100)
    with pytest.raises(ValueError, match="the first is row 6"):
        cosine.unit_rows(X, what="rows", numbers=np.arange(20) + 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalize(dtype):
    X = clusters(20, 7).astype(dtype)
    X[3] = 0
    found = cosine.normalize(X)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[4:], X[4:] / np.linalg.norm(X[4:], axis=1, keepdims=True))
    assert not found[3].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_is_directed(dtype):
    X = np.array([[0, 0, 0], [1, 0, 0], [0, 0, -1e-30], [-0.0, 0, 0]], dtype=dtype)
    assert cosine.is_directed(X).tolist() == [False, True, True, False]
    assert cosine.is_directed(X[:, :0]).tolist() == [False] * 4
    assert cosine.is_directed(X[:0]).tolist() == []
