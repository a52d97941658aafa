"""The kernels of the graph and of duplicates against numpy; these tests run with NUMBA_DISABLE_JIT=1 as well."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import oracles
from scim.index import _search
from scim.index.graph import _walk

from .conftest import clusters


@pytest.fixture
def rows():
    return oracles.unit(clusters(40, 6))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8))
def test_insert(seed, size):
    rng = np.random.default_rng(seed)
    dots, ranks = rng.integers(-1, 2, 12).astype(np.float32), rng.permutation(12)
    keys = np.full(size, _walk.EMPTY)
    for dot, rank in zip(dots, ranks, strict=True):
        at = _walk.insert(keys, _walk.key_of(dot, rank))
        assert at == size or _walk.ranks_of(keys)[at] == rank
        if at < size:
            keys[at] |= 1  # expanded ones keep their place
    np.testing.assert_array_equal(_walk.ranks_of(keys), oracles.smallest(-dots, ranks, size)[1])


def test_keys_are_in_the_order_of_distances():
    dots = np.linspace(-1, 1, 999).astype(np.float32)
    keys = np.array([_walk.key_of(dot, 2**31 - 1) for dot in dots])
    assert (keys > 0).all()
    assert (np.diff(keys) < 0).all()
    assert _walk.key_of(np.float32(-1.000001), 2**31 - 1) < _walk.EMPTY
    assert _walk.key_of(np.float32(0.5), 3) < _walk.key_of(np.float32(0.5), 4)


@pytest.mark.parametrize("held_out", [[], [0, 30, 39]])
def test_walk_reaches_all_linked_rows(rows, held_out):
    # Two rings of 20 rows: a walk with an unlimited candidate list visits the ring that it starts in.
    ring = np.array([[i // 20 * 20 + (i + 1) % 20, i // 20 * 20 + (i - 1) % 20] for i in range(40)], dtype=np.int32)
    keys, measured = np.full((3, 40), _walk.EMPTY), np.zeros(3, np.int64)
    seen = np.full((2, 40), 6, np.int32)
    entries = np.array([[1], [25], [38]], dtype=np.int32)
    without = np.array(held_out, np.int64)
    _walk.walk(rows[:3], rows, np.arange(0, 82, 2), ring.ravel(), entries, without, seen, 7, keys, measured)
    ranks = _walk.ranks_of(keys)
    for i, side in enumerate([range(20), range(20, 40), range(20, 40)]):
        near = np.setdiff1d(side, without[i : i + 1])
        expected = oracles.smallest(oracles.cosine_distances(rows[i : i + 1], rows[near])[0], near, 20)
        np.testing.assert_array_equal(ranks[i, : len(near)], expected[1])
        assert (ranks[i, len(near) :] == -1).all()
        assert measured[i] == len(near)


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
