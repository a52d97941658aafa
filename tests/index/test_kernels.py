"""Every kernel against numpy; these tests run with NUMBA_DISABLE_JIT=1 as well."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import oracles
from scim.index import _twins, _unit
from scim.index.exact import _distances, _panel, _select, _topk
from scim.index.graph import _walk

from .conftest import clusters


@pytest.fixture
def rows():
    return oracles.unit(clusters(40, 6))


def pairs(rng, n):
    return rng.integers(0, 5, n).astype(np.float32), rng.permutation(n)


def test_distances(rows):
    which = np.array([[3, -1, 5], [0, 39, 1]])
    found = _distances.measure(rows[:2], rows, which)
    expected = np.take_along_axis(oracles.cosine_distances(rows[:2], rows), which, axis=1)
    expected[0, 1] = np.inf
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(_distances.measure(rows[:2], rows, which[:1])[0], found[0])
    many = np.zeros((1, _distances._PART + 3), np.int64)
    many[0, -1] = 7
    assert _distances.measure(rows[7:8], rows, many)[0, -1] <= 1e-6


def test_distances_are_clipped():
    rows = np.array([[1.1, 0], [-1.1, 0]], dtype=np.float32)
    assert _distances.measure(rows[:1], rows, np.array([[0, 1]])).tolist() == [[0, 2]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30))
def test_heaps_sort(seed, n):
    distances, ranks = pairs(np.random.default_rng(seed), n)
    expected = oracles.smallest(distances, ranks, n)
    _topk.sort_rows(distances[None], ranks[None])
    np.testing.assert_array_equal((distances, ranks), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 40), st.integers(1, 12))
def test_keep_nearest(seed, n, k):
    rng = np.random.default_rng(seed)
    distances = rng.integers(0, 6, (2, n)).astype(np.float32)
    kept, names = _topk.empty_heaps(2, k)
    for part in (slice(0, n // 2), slice(n // 2, n)):
        _topk.keep_nearest(np.ascontiguousarray(distances[:, part]), np.arange(n)[part], kept, names)
    _topk.sort_rows(kept, names)
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
    _select.select_rows(m, values[None], ranks[None], np.array([n]))
    np.testing.assert_array_equal(np.sort(values[:m]), np.sort(list(before.values()))[:m])
    assert all(before[rank] == value for rank, value in zip(ranks, values, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 60), st.sampled_from([1, 5, 1_000]))
def test_tighten(seed, n, m, n_values):
    rng = np.random.default_rng(seed)
    n, m = max(n, m), min(n, m)
    before, ranks = (rng.integers(-n_values, n_values, n) / n_values).astype(np.float32), rng.permutation(n)
    values, by_rank = before.copy(), dict(zip(ranks, before, strict=True))
    n_kept, bar = _select.tighten(values, ranks, m)
    assert m <= n_kept <= (n + m) / 2
    np.testing.assert_array_equal(np.sort(values[:n_kept])[:m], np.sort(before)[:m])
    assert [by_rank[rank] for rank in ranks[:n_kept]] == values[:n_kept].tolist()
    assert (before < bar).sum() <= n_kept
    assert (values[:n_kept] <= bar).all()


def test_score_four():
    rng = np.random.default_rng(0)
    X, panel = rng.normal(size=(4, 8)).astype(np.float32), rng.normal(size=(8, _panel.WIDTH)).astype(np.float32)
    scores = np.full((4, _panel.WIDTH), np.nan, np.float32)
    _panel.score_four(X, panel, scores)
    np.testing.assert_allclose(scores, X @ panel, atol=1e-5)


@pytest.mark.parametrize("n_places", [37, 70, 200])
def test_keep_best(n_places):
    rng = np.random.default_rng(0)
    scores = np.full(_panel.WIDTH, -np.inf, np.float32)
    scores[:100] = rng.integers(-5, 0, 100) / 5
    values, ranks = (a[0] for a in _topk.empty_heaps(1, n_places))
    names = np.arange(2_000, 2_000 + _panel.WIDTH)
    n_kept, bar = _panel.keep_best(scores, names, 100, 5, values, ranks, 0, np.float32(np.inf))
    assert n_kept >= 5
    assert (values[:n_kept].max() <= bar) or bar == np.inf
    np.testing.assert_array_equal(np.sort(values[:n_kept])[:5], np.sort(-scores[:100])[:5])
    np.testing.assert_array_equal(values[:n_kept], -scores[ranks[:n_kept] - 2_000])


@pytest.mark.parametrize("n", [1, 4, 9])
@pytest.mark.parametrize("which", [None, np.arange(0, 40, 3)])
def test_shortlist(rows, n, which):
    some = np.arange(40) if which is None else which
    values, ranks = _panel.shortlist(rows[:n], rows, 5, which)
    distances = oracles.cosine_distances(rows[:n], rows[some])
    np.testing.assert_array_equal(ranks, some[np.argsort(distances, axis=1)[:, :5]])
    np.testing.assert_allclose(1 + values, np.sort(distances, axis=1)[:, :5], atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8))
def test_insert(seed, size):
    offered, names = pairs(np.random.default_rng(seed), 12)
    values, ranks = (a[0] for a in _topk.empty_heaps(1, size))
    done = np.ones(size, bool)
    for i in range(12):
        place = _walk.insert(values, ranks, done, offered[i], names[i])
        assert place == size or (ranks[place] == names[i] and not done[place])
    np.testing.assert_array_equal((values, ranks), oracles.smallest(offered, names, size))


def test_walk_reaches_all_that_is_linked(rows):
    # Two rings of 20 rows: a walk that keeps every row in view visits the ring that it starts in.
    ring = np.array([[i // 20 * 20 + (i + 1) % 20, i // 20 * 20 + (i - 1) % 20] for i in range(40)], dtype=np.int32)
    values, ranks = _topk.empty_heaps(3, 40)
    seen, done = np.zeros((2, 40), np.int32), np.empty((2, 40), bool)
    entries = np.array([[0], [25], [39]], dtype=np.int32)
    _walk.walk(rows[:3], rows, np.arange(0, 82, 2), ring.ravel(), entries, seen, done, values, ranks)
    for i, side in enumerate([range(20), range(20, 40), range(20, 40)]):
        expected = oracles.smallest(oracles.cosine_distances(rows[i : i + 1], rows[side])[0], np.array(side), 20)
        np.testing.assert_array_equal(ranks[i, :20], expected[1])
        assert (ranks[i, 20:] == -1).all()


def test_twins():
    # The rows of four hits: twice the same, one that differs, and the first again but farther.
    rows = np.array([[1, 0], [1, 0], [0.6, 0.8], [1, 0]], dtype=np.float32)
    distances = np.array([[0.25, 0.25, 0.25, 0.5], [0.25, 0.25, 0.25, 0.25]], dtype=np.float32)
    ids = np.array([[0, 2, 1, 3], [0, 1, 2, -1]])
    found = _twins.twins(distances, ids, lambda some, n: rows[some, :n])
    np.testing.assert_array_equal(found, [[False, False, True, False], [False, True, False, False]])
    longer = np.hstack([np.tile(rows, 10), [[0], [1], [0], [0]]]).astype(np.float32)  # the second differs at the end
    found = _twins.twins(distances, ids, lambda some, n: longer[some, :n])
    np.testing.assert_array_equal(found, [[False] * 4, [False] * 4])
    nothing = _twins.twins(np.array([[0, 1]], np.float32), ids[:1, :2], lambda some, n: pytest.fail("nothing is tied"))
    assert not nothing.any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12))
def test_mark(seed, n):
    rng = np.random.default_rng(seed)
    distances = np.sort(rng.integers(0, 3, (2, n)).astype(np.float32), axis=1)
    which, rows = rng.integers(-1, 5, (2, n)), rng.integers(0, 2, (5, 2)).astype(np.float32)
    found = np.zeros((2, n), np.bool_)
    _twins.mark(distances, which, rows, found)
    for i in range(2):
        np.testing.assert_array_equal(found[i], oracles.twins(distances[i], which[i], rows))


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # numpy's, when nothing is compiled
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_unit_rows(dtype):
    X = clusters(20, 7).astype(dtype)
    X[3] = 0
    found = _unit.unit_rows(X, what="rows")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, oracles.unit(X), atol=1e-6)
    X[[4, 9], 2] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 of 20 rows hold NaN or infinity, the first is row 104"):
        _unit.unit_rows(X, what="rows", first=100)
    with pytest.raises(ValueError, match="the first is row 6"):
        _unit.unit_rows(X, what="rows", names=np.arange(20) + 2)
