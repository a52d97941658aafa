"""The kernels of the graph and of duplicates against numpy; these tests run with NUMBA_DISABLE_JIT=1 as well."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import oracles
from scim._core import topk
from scim.index import _graph, _search

from .conftest import clusters


@pytest.fixture
def rows():
    return oracles.unit(clusters(40, 6))


def pairs(rng, n):
    return rng.integers(0, 5, n).astype(np.float32), rng.permutation(n)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8))
def test_insert(seed, size):
    offered, names = pairs(np.random.default_rng(seed), 12)
    values, ranks = (a[0] for a in topk.empty_heaps(1, size))
    done = np.ones(size, bool)
    for i in range(12):
        place = _graph.insert(values, ranks, done, offered[i], names[i])
        assert place == size or (ranks[place] == names[i] and not done[place])
    np.testing.assert_array_equal((values, ranks), oracles.smallest(offered, names, size))


def test_walk_reaches_all_linked_rows(rows):
    # Two rings of 20 rows: a walk with an unlimited candidate list visits the ring that it starts in.
    ring = np.array([[i // 20 * 20 + (i + 1) % 20, i // 20 * 20 + (i - 1) % 20] for i in range(40)], dtype=np.int32)
    values, ranks = topk.empty_heaps(3, 40)
    seen, done = np.zeros((2, 40), np.int32), np.empty((2, 40), bool)
    entries = np.array([[0], [25], [39]], dtype=np.int32)
    _graph.walk(rows[:3], rows, np.arange(0, 82, 2), ring.ravel(), entries, seen, done, values, ranks)
    for i, side in enumerate([range(20), range(20, 40), range(20, 40)]):
        expected = oracles.smallest(oracles.cosine_distances(rows[i : i + 1], rows[side])[0], np.array(side), 20)
        np.testing.assert_array_equal(ranks[i, :20], expected[1])
        assert (ranks[i, 20:] == -1).all()


def test_duplicates():
    # The rows of four hits: twice the same, one that differs, and the first again but farther.
    rows = np.array([[1, 0], [1, 0], [0.6, 0.8], [1, 0]], dtype=np.float32)
    distances = np.array([[0.25, 0.25, 0.25, 0.5], [0.25, 0.25, 0.25, 0.25]], dtype=np.float32)
    ids = np.array([[0, 2, 1, 3], [0, 1, 2, -1]])
    found = _search.duplicates(distances, ids, lambda some, n: rows[some, :n])
    np.testing.assert_array_equal(found, [[False, False, True, False], [False, True, False, False]])
    longer = np.hstack([np.tile(rows, 10), [[0], [1], [0], [0]]]).astype(np.float32)  # the second differs at the end
    found = _search.duplicates(distances, ids, lambda some, n: longer[some, :n])
    np.testing.assert_array_equal(found, [[False] * 4, [False] * 4])
    nothing = _search.duplicates(
        np.array([[0, 1]], np.float32), ids[:1, :2], lambda some, n: pytest.fail("nothing is tied")
    )
    assert not nothing.any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12))
def test_mark_duplicates(seed, n):
    rng = np.random.default_rng(seed)
    distances = np.sort(rng.integers(0, 3, (2, n)).astype(np.float32), axis=1)
    which, rows = rng.integers(-1, 5, (2, n)), rng.integers(0, 2, (5, 2)).astype(np.float32)
    found = np.zeros((2, n), np.bool_)
    _search.mark_duplicates(distances, which, rows, found)
    for i in range(2):
        np.testing.assert_array_equal(found[i], oracles.duplicates(distances[i], which[i], rows))
