"""Heaps and selection against numpy; these tests run with NUMBA_DISABLE_JIT=1 as well."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import oracles
from scim._core import topk


def pairs(rng, n):
    return rng.integers(0, 5, n).astype(np.float32), rng.permutation(n)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30))
def test_heaps_sort(seed, n):
    distances, ranks = pairs(np.random.default_rng(seed), n)
    expected = oracles.smallest(distances, ranks, n)
    topk.sort_rows(distances[None], ranks[None])
    np.testing.assert_array_equal((distances, ranks), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 40), st.integers(1, 12))
def test_keep_nearest(seed, n, k):
    rng = np.random.default_rng(seed)
    distances = rng.integers(0, 6, (2, n)).astype(np.float32)
    kept, names = topk.empty_heaps(2, k)
    for part in (slice(0, n // 2), slice(n // 2, n)):
        topk.keep_nearest(np.ascontiguousarray(distances[:, part]), np.arange(n)[part], kept, names)
    topk.sort_rows(kept, names)
    for i in range(2):
        expected = oracles.smallest(distances[i], np.arange(n), k)
        np.testing.assert_array_equal(kept[i, :n], expected[0])
        np.testing.assert_array_equal(names[i, :n], expected[1])
    assert (names[:, n:] == -1).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 40))
def test_select(seed, n, m):
    values, ranks = pairs(np.random.default_rng(seed), n)
    values /= 5
    before = dict(zip(ranks, values, strict=True))
    topk.select_rows(m, values[None], ranks[None], np.array([n]))
    np.testing.assert_array_equal(np.sort(values[:m]), np.sort(list(before.values()))[:m])
    assert all(before[rank] == value for rank, value in zip(ranks, values, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 60), st.sampled_from([1, 5, 1_000]))
def test_tighten(seed, n, m, n_values):
    rng = np.random.default_rng(seed)
    n, m = max(n, m), min(n, m)
    before, ranks = (rng.integers(-n_values, n_values, n) / n_values).astype(np.float32), rng.permutation(n)
    values, by_rank = before.copy(), dict(zip(ranks, before, strict=True))
    n_kept, bound = topk.tighten(values, ranks, m)
    assert m <= n_kept <= (n + m) / 2
    np.testing.assert_array_equal(np.sort(values[:n_kept])[:m], np.sort(before)[:m])
    assert [by_rank[rank] for rank in ranks[:n_kept]] == values[:n_kept].tolist()
    assert (before < bound).sum() <= n_kept
    assert (values[:n_kept] <= bound).all()
