"""The kernels of the inverted file against numpy; these tests run with NUMBA_DISABLE_JIT=1 as well."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import oracles
from scim.index.ivf import _candidates, _codes, _kmeans, _search
from scim.index.ivf._candidates import ALL, STEP, compile_filter, make_workspace
from scim.index.ivf._codes import Checks, Coarse, Rows

from .conftest import clusters

# Checksums wrap around: numpy warns of it for single numbers without compilation.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in scalar:RuntimeWarning")


def coded(dim, n=30):
    """Rows around three centroids, one of them its own centroid, and their codes."""
    rows = oracles.unit(clusters(n, dim, n_clusters=3))
    centroids = oracles.unit(clusters(3, dim, seed=2))
    labels = np.sort(np.arange(n) % 3).astype(np.int32)
    rows[4] = centroids[labels[4]]
    values, scales = np.zeros((n, dim), np.uint16), np.full(n, np.nan, np.float32)
    offsets = np.arange(n, dtype=np.int32)
    _codes.encode(rows, centroids, labels, offsets, values, scales)
    codes = np.zeros((n, _codes.padded(dim) // 2), np.uint8)
    _codes.pack_nibbles(values, offsets, codes)
    return rows, centroids, labels, values, scales, codes


@pytest.mark.parametrize("dim", [1, 2, 31, 32, 33, 64, 65, 128])
def test_codes(dim):
    rows, centroids, labels, values, scales, codes = coded(dim)
    expected, expected_scales = oracles.residuals(rows, centroids, labels)
    assert np.abs(values.astype(int) - expected).max() <= 1  # sums and quotients here are of single precision
    np.testing.assert_allclose(scales, expected_scales, rtol=1e-5, atol=1e-9)
    assert scales[4] == 0
    np.testing.assert_array_equal(codes, oracles.half_bytes(values, codes.shape[1]))
    np.testing.assert_array_equal(oracles.unpacked(codes)[:, :dim], values >> 12)
    out = np.empty((4, dim), np.float32)
    some = np.array([29, 4, 0, 29])
    _codes.decode(some, labels[some], centroids, values, scales, out)
    assert (np.abs(out - rows[some]) <= scales[some][:, None] * 0.51 + 1e-6).all()
    np.testing.assert_array_equal(out[1], rows[4])


def test_encode_writes_to_offsets():
    rows, centroids, labels, values, scales, _ = coded(8)
    offsets = np.random.default_rng(0).permutation(30).astype(np.int32)
    other, other_scales = np.zeros_like(values), np.zeros_like(scales)
    _codes.encode(rows, centroids, labels, offsets, other, other_scales)
    np.testing.assert_array_equal(other[offsets], values)
    np.testing.assert_array_equal(other_scales[offsets], scales)


@pytest.mark.parametrize("dim", [1, 40, 64])
def test_quantize_and_terms(dim):
    rows, _, _, values, _, _ = coded(dim)
    query = rows[7]
    code = np.full(_codes.padded(dim), 99, np.int8)
    step, total = _codes.quantize(query, code)
    np.testing.assert_allclose(code[:dim] * step, query, atol=step * 0.51)
    assert (code[dim:] == 0).all()
    np.testing.assert_allclose(total, step * code.astype(int).sum(), rtol=1e-5)
    for bits in (4, 8):
        factor, offset = _codes.terms(bits, step, total)
        upper = (values >> (16 - bits)).astype(np.int64)
        midpoint = upper * 2.0 ** (16 - bits) + (2 ** (16 - bits) - 1) / 2 - 32_768
        expected = midpoint @ (code[:dim] * np.float64(step))
        np.testing.assert_allclose(factor * (upper @ code[:dim].astype(int)) - offset, expected, rtol=1e-3, atol=0.5)
    nothing = np.ones(64, np.int8)
    assert _codes.quantize(np.zeros(3, np.float32), nothing) == (0, 0)
    assert not nothing.any()


@pytest.mark.parametrize(("n", "dim", "n_centroids"), [(1, 1, 1), (50, 6, 9), (33, 8, 20), (2_100, 3, 5)])
def test_assign(n, dim, n_centroids):
    rows, centroids = oracles.unit(clusters(n, dim)), oracles.unit(clusters(n_centroids, dim, seed=1))
    labels, best = _kmeans.assign(rows, _kmeans.Tree(centroids[:1], centroids, np.array([0, n_centroids])))
    dots = rows.astype(np.float64) @ centroids.T.astype(np.float64)
    np.testing.assert_allclose(best, dots.max(axis=1), atol=1e-5)
    np.testing.assert_allclose(dots[np.arange(n), labels], dots.max(axis=1), atol=1e-5)


def test_assign_compares_with_the_children_of_the_nearest_parents():
    parents, centroids = np.eye(10, 12, dtype=np.float32), np.repeat(np.eye(10, 12, dtype=np.float32), 2, axis=0)
    centroids[1::2, 10] = 0.5
    starts = np.array([0, 2, 4, 4, 6, 8, 10, 12, 14, 16, 20])  # a group of none, one of four
    rows = oracles.unit(clusters(40, 12))
    labels, best = _kmeans.assign(rows, _kmeans.Tree(parents, centroids, starts))
    groups = np.argsort(-(rows @ parents.T), axis=1, kind="stable")[:, :8]
    for row in range(40):
        children = np.concatenate([np.arange(starts[group], starts[group + 1]) for group in groups[row]])
        np.testing.assert_allclose(best[row], (centroids[children] @ rows[row]).max(), atol=1e-5)
        assert labels[row] in children


def test_equal_centroids_give_the_first():
    rows, centroids = np.eye(1, 5, dtype=np.float32).repeat(3, axis=0), np.eye(1, 5, dtype=np.float32).repeat(4, axis=0)
    assert _kmeans.assign(rows, _kmeans.Tree(centroids[:1], centroids, np.array([0, 4])))[0].tolist() == [0, 0, 0]


def test_add_rows():
    rows, labels, sums = oracles.unit(clusters(40, 6)), (np.arange(40) % 3).astype(np.int32), np.zeros((3, 6))
    _kmeans.add_rows(rows, labels, sums)
    np.testing.assert_allclose(sums, oracles.label_sums(rows, labels, 3))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 60), st.sampled_from([1, 4, 1_000]))
def test_bound_for_and_cut(seed, n, m, n_values):
    rng = np.random.default_rng(seed)
    n, m = max(n, m), min(n, m)
    before, keys = (rng.integers(-n_values, n_values + 1, n) / n_values).astype(np.float32), np.arange(n)
    low, bound = _candidates.bound_for(before, np.float32(-np.inf), m)
    assert (before <= bound).sum() >= m > (before <= low).sum()
    values = before.copy()
    n_kept, largest = _candidates.cut(values, keys, m)
    assert m <= n_kept <= m + m // 4
    assert largest == values[:n_kept].max()
    np.testing.assert_array_equal(before[keys[:n_kept]], values[:n_kept])
    assert (np.diff(keys[:n_kept]) > 0).all()  # in the order they came in: of equal ones the first
    np.testing.assert_allclose(np.sort(values[:n_kept])[:m], np.sort(before)[:m], atol=1e-6)


def test_bound_for_beyond():
    values = np.linspace(-0.9, 0.9, 37).astype(np.float32)
    above = values[11]
    _, bound = _candidates.bound_for(values, above, 8)
    assert 8 <= ((values > above) & (values <= bound)).sum() <= 10


@pytest.mark.parametrize("levels", [3, 10_000])
def test_offer(levels):
    rng = np.random.default_rng(0)
    m, n_kept, bound = 10, 0, np.float32(np.inf)
    values, keys = (np.empty(3 * m + 2 * STEP, kind) for kind in (np.float32, np.int64))
    scores = (rng.integers(-levels, levels, 30 * STEP) / levels).astype(np.float32)
    for first in range(0, len(scores), STEP):
        part = scores[first : first + STEP]
        n_kept, bound = _candidates.offer(part, 7_000 + first, m, values, keys, n_kept, bound)
    assert n_kept >= m
    np.testing.assert_array_equal(scores[keys[:n_kept] - 7_000], values[:n_kept])
    np.testing.assert_allclose(np.sort(values[:n_kept])[:m], np.sort(scores)[:m], atol=1e-6)


def test_checksums_change_with_every_word():
    rng = np.random.default_rng(0)
    words, scales = rng.integers(0, 2**32, (6, 8), dtype=np.uint32), rng.integers(0, 2**30, 6, dtype=np.uint32)
    ranks, values = rng.integers(0, 100, 6).astype(np.int32), rng.integers(0, 2**16, (6, 5)).astype(np.uint16)
    starts, numbers = np.array([0, 2, 2, 6]), np.arange(3)
    nothing = np.zeros(3, np.uint64)
    rows = Rows(starts, words.view(np.uint8), scales.view(np.float32), ranks, values, nothing)
    checks = Checks(words, scales, np.zeros(3, np.bool_))
    sums = _codes.sums_of(numbers, rows, checks)
    assert [_codes.list_sum(a, b, words, scales, ranks, values) for a, b in pairwise(starts)] == sums.tolist()
    for part in (words, scales, ranks, values):
        for at in np.ndindex(part.shape):
            for bit in (0, 7, 15):
                part[at] ^= part.dtype.type(1 << bit)
                changed = _codes.sums_of(numbers, rows, checks)
                part[at] ^= part.dtype.type(1 << bit)
                assert (changed != sums).tolist() == [at[0] < 2, False, at[0] >= 2]
        part[[0, 1]] = part[[1, 0]]  # rows that changed offsets
        assert _codes.sums_of(numbers, rows, checks)[0] != sums[0]
        part[[0, 1]] = part[[1, 0]]


def lists_of(dim):
    """Return the arrays of three lists for a search: rows and their descriptions; the second list has no rows."""
    rows, centroids, labels, values, scales, codes = coded(dim)
    ranks = np.random.default_rng(1).permutation(len(rows)).astype(np.int32)
    labels[labels == 1] = 0  # coded by another centroid than that of its list: code again
    labels.sort()
    offsets = np.arange(len(rows), dtype=np.int32)
    _codes.encode(rows, centroids, labels, offsets, values, scales)
    codes[:] = 0
    _codes.pack_nibbles(values, offsets, codes)
    starts = np.searchsorted(labels, np.arange(4))
    for start, stop in pairwise(starts):
        ranks[start:stop].sort()
    sums = np.zeros(3, np.uint64)
    parts = Rows(starts, codes, scales, ranks, values, sums)
    checks = Checks(codes.view(np.uint32), scales.view(np.uint32), np.zeros(3, np.bool_))
    sums[:] = _codes.sums_of(np.arange(3), parts, checks)
    parents, groups = centroids[:1], np.array([0, 3])
    upper, steps = np.zeros((3, dim), np.uint16), np.zeros(3, np.float32)
    _codes.encode(centroids, parents, np.zeros(3, np.int32), np.arange(3, dtype=np.int32), upper, steps)
    bytes_ = np.zeros((3, -(-dim // 32) * 32), np.uint8)
    bytes_[:, :dim] = upper >> 8
    coarse = Coarse(parents, groups, centroids, bytes_, steps, np.full(3, 0.5, np.float32))
    return rows, labels, coarse, parts, checks


@pytest.mark.parametrize("dim", [1, 20, 64])
def test_rerank(dim):
    rows, labels, coarse, parts, _ = lists_of(dim)
    found = np.random.default_rng(0).integers(0, 30, 100)
    keys = labels[found].astype(np.int64) << 32 | found
    values = np.full(100, np.nan, np.float32)
    _search.rerank(rows[3], 99, coarse, parts, values, keys)
    np.testing.assert_allclose(values[:99], oracles.cosine_distances(rows[3:4], rows)[0, found[:99]], atol=5e-5)
    np.testing.assert_array_equal(keys[:99], parts.ranks[found[:99]])
    assert np.isnan(values[99])
    assert len(np.unique(values[:99][found[:99] == found[0]])) == 1  # the same bits at any position


@pytest.mark.parametrize("dim", [1, 20, 64])
@pytest.mark.parametrize("passing", ["all", "most", "few"])
@pytest.mark.parametrize("k", [1, 8])
def test_search_many(dim, passing, k):
    rows, _, coarse, parts, checks = lists_of(dim)
    mask = {"all": np.ones(30, bool), "most": np.arange(30) % 3 > 0, "few": np.arange(30) % 3 == 0}[passing]
    some = (
        ALL if passing == "all" else compile_filter(mask if passing == "most" else np.flatnonzero(mask), parts.starts)
    )
    assert (len(some.offsets) > 0, len(some.mask) > 0) == (passing == "few", passing == "most")
    n, m = 5, int(mask.sum())
    work = make_workspace(2, _codes.padded(dim), 1, 3, 3, m)
    distances, ranks = np.empty((n, k), np.float32), np.empty((n, k), np.int64)
    scanned = np.empty(n, np.int64)
    arguments = rows[:n], np.arange(n)[::-1].copy(), m, 1e6, 0.0, 3, coarse, parts, checks, some, work
    _search.search_many(*arguments, distances, ranks, scanned)
    everything = oracles.cosine_distances(rows[:n], rows)
    expected = np.sort(np.where(mask, everything, np.inf), axis=1)[:, :k]
    np.testing.assert_allclose(distances, expected, atol=5e-5)
    offset_of = np.argsort(parts.ranks)
    assert mask[offset_of[ranks]].all()
    np.testing.assert_allclose(np.take_along_axis(everything, offset_of[ranks], axis=1), expected, atol=1e-4)
    assert (scanned == m).all()
    assert checks.done[[0, 2]].all()
    checks.done[:] = False
    parts.values[29, 0] ^= 1  # of the last list, number 2
    _search.search_many(*arguments, distances, ranks, scanned)
    assert (scanned == -1 - 2).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 40))
def test_sort_nearest(seed, n, k):
    rng = np.random.default_rng(seed)
    n, k = max(n, k), min(n, k)
    distances, ranks = rng.integers(0, 9, n).astype(np.float32) / 4, rng.permutation(n)
    expected = oracles.smallest(distances, ranks, k)
    _candidates.sort_nearest(distances, ranks, k)
    np.testing.assert_array_equal(distances[:k], expected[0])
    np.testing.assert_array_equal(ranks[:k], expected[1])


def test_compile_filter_where_the_last_lists_are_empty():
    starts = np.array([0, 0, 2, 2, 5, 5, 5])
    for mask in (np.ones(5, bool), np.array([False, True, False, False, True])):
        assert compile_filter(mask, starts).starts.tolist() == [0, *(int(mask[:stop].sum()) for stop in starts[1:])]
