"""Exact search against brute force with the same distances, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scim
from helpers import oracles
from scim._core import nearest
from scim._core.cosine import measure, unit_rows


def brute_force(queries, base, ids, k):
    distances = measure(unit_rows(queries, what=""), unit_rows(base, what=""), np.arange(len(base))[None])
    zero = ~queries.any(axis=1)[:, None] | ~base.any(axis=1)
    distances[zero], ids = np.inf, np.where(zero, -1, ids)
    pairs = [oracles.smallest(row, names, k) for row, names in zip(distances, ids, strict=True)]
    return np.stack([d for d, _ in pairs]), np.stack([i for _, i in pairs])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 300),
    n_queries=st.integers(1, 40),
    dim=st.integers(1, 40),
    k=st.integers(1, 50),
    levels=st.sampled_from([1, 2, 50, 0]),
)
def test_equals_brute_force(seed, n, n_queries, dim, k, levels):
    rng = np.random.default_rng(seed)
    draw = rng.normal if levels == 0 else lambda size: rng.integers(-levels, levels + 1, size).astype(float)
    base, queries, ids = draw(size=(n, dim)), draw(size=(n_queries, dim)), rng.choice(2 * n, n, replace=False)
    found = scim.index.build(base, ids, kind="exact").query(queries, k)
    distances, expected = brute_force(queries, base, ids, min(k, n))
    np.testing.assert_array_equal(found.ids[:, :n], expected[:, :k])
    np.testing.assert_array_equal(found.distances[:, :n], distances[:, :k])


@pytest.mark.parametrize("n_distinct", [3, 400, 1_500])
def test_incomplete_candidates_are_searched_again(n_distinct, monkeypatch):
    # With few distinct rows more than k + margin are equally near, so the candidates may be incomplete.
    again = []
    scan = nearest._scan
    monkeypatch.setattr(nearest, "_scan", lambda X, *rest: again.append(len(X)) or scan(X, *rest))
    rng = np.random.default_rng(0)
    base = rng.normal(size=(n_distinct, 30))[rng.integers(n_distinct, size=1_500)]
    queries, ids = rng.normal(size=(40, 30)), rng.permutation(1_500)
    found = scim.index.build(base, ids, kind="exact").query(queries, 10)
    distances, expected = brute_force(queries, base, ids, 10)
    np.testing.assert_array_equal(found.ids, expected)
    np.testing.assert_array_equal(found.distances, distances)
    assert (sum(again) > 0) == (n_distinct == 3)


def test_queries_are_searched_in_batches(monkeypatch):
    monkeypatch.setattr("scim.index._index._BATCH", 30)
    monkeypatch.setattr(nearest, "_MANY", 20)
    monkeypatch.setattr(nearest, "_SCAN_BYTES", 1_000)
    rng = np.random.default_rng(0)
    base, queries = rng.normal(size=(700, 8)), rng.normal(size=(100, 8))
    found = scim.index.build(base, kind="exact").query(queries, 10)
    distances, expected = brute_force(queries, base, np.arange(700), 10)
    np.testing.assert_array_equal(found.ids, expected)
    np.testing.assert_array_equal(found.distances, distances)
    queries[45] = np.inf
    with pytest.raises(ValueError, match="the first is row 45"):
        scim.index.build(base, kind="exact").query(queries, 10)
