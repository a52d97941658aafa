from __future__ import annotations

import numpy as np
import pytest

from helpers import oracles
from scim.training.evaluation import _neighbours, nearest


def rows(n, dim=6, seed=0):
    return oracles.unit(np.random.default_rng(seed).normal(size=(n, dim)))


@pytest.mark.parametrize("k", [1, 5, 40])
def test_equal_to_brute_force_over_several_blocks(monkeypatch, k):
    monkeypatch.setattr(_neighbours, "_QUERIES", 7)
    monkeypatch.setattr(_neighbours, "_ROWS", 11)
    X, base = rows(20), rows(40, seed=1)
    distances, ids = nearest(X, base, k)
    expected = oracles.neighbors(X, base, k)
    np.testing.assert_array_equal(ids, expected[1])
    np.testing.assert_allclose(distances, expected[0], atol=1e-6)


def test_rows_of_the_own_group_are_passed_over():
    X, groups = rows(30), np.arange(30) % 3
    distances, ids = nearest(X, X, 25, apart=(groups, groups))
    assert (ids[:, :20] >= 0).all()
    assert (ids[:, 20:] == -1).all()  # ten cells are of the own group
    assert np.isinf(distances[:, 20:]).all()
    for i in range(30):
        others = np.flatnonzero(groups != groups[i])
        expected = others[np.argsort(oracles.cosine_distances(X[[i]], X[others])[0], kind="stable")]
        np.testing.assert_array_equal(ids[i, :20], expected)


def test_fewer_rows_than_neighbours_are_padded():
    distances, ids = nearest(rows(2), rows(3, seed=1), 5)
    assert (ids[:, 3:] == -1).all()
    assert np.isinf(distances[:, 3:]).all()
    assert np.isfinite(distances[:, :3]).all()


def test_ties_go_by_position():
    base = np.repeat(np.eye(2, dtype=np.float32), 4, axis=0)
    assert nearest(base[[4]], base, 5)[1].tolist() == [[4, 5, 6, 7, 0]]
