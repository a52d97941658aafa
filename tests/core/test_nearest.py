"""Exact nearest rows against numpy; these tests run with NUMBA_DISABLE_JIT=1 as well."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import oracles
from scim._core import nearest, topk
from scim._core.cosine import measure

from .conftest import clusters

NO_GROUPS = np.empty(0, np.int64)


@pytest.fixture
def rows():
    return oracles.unit(clusters(40, 6))


def test_score_four():
    rng = np.random.default_rng(0)
    X, tile = rng.normal(size=(4, 8)).astype(np.float32), rng.normal(size=(8, nearest.WIDTH)).astype(np.float32)
    scores = np.full((4, nearest.WIDTH), np.nan, np.float32)
    nearest.score_four(X, tile, scores)
    np.testing.assert_allclose(scores, X @ tile, atol=1e-5)


@pytest.mark.parametrize("capacity", [37, 70, 200])
def test_keep_best(capacity):
    rng = np.random.default_rng(0)
    scores = np.full(nearest.WIDTH, -np.inf, np.float32)
    scores[:100] = rng.integers(-5, 0, 100) / 5
    values, ranks = (a[0] for a in topk.empty_heaps(1, capacity))
    names = np.arange(2_000, 2_000 + nearest.WIDTH)
    n_kept, bound = nearest.keep_best(scores, names, 100, 5, values, ranks, 0, np.float32(np.inf))
    assert n_kept >= 5
    assert (values[:n_kept].max() <= bound) or bound == np.inf
    np.testing.assert_array_equal(np.sort(values[:n_kept])[:5], np.sort(-scores[:100])[:5])
    np.testing.assert_array_equal(values[:n_kept], -scores[ranks[:n_kept] - 2_000])


@pytest.mark.parametrize("n", [1, 4, 9])
@pytest.mark.parametrize("which", [None, np.arange(0, 40, 3)])
def test_shortlist(rows, n, which):
    some = np.arange(40) if which is None else which
    values, ranks = nearest.shortlist(rows[:n], rows, 5, some, NO_GROUPS, NO_GROUPS)
    distances = oracles.cosine_distances(rows[:n], rows[some])
    np.testing.assert_array_equal(ranks, some[np.argsort(distances, axis=1)[:, :5]])
    np.testing.assert_allclose(1 + values, np.sort(distances, axis=1)[:, :5], atol=1e-6)


@pytest.mark.parametrize(("n", "n_rows"), [(3, 40), (30, 40), (30, 300), (40, 1_300)])
@pytest.mark.parametrize("groups", ["rows", "studies", "one"])
@pytest.mark.parametrize("step", [1, 3])
def test_rows_of_the_same_group_are_no_neighbours(n, n_rows, groups, step):
    rows = oracles.unit(clusters(n_rows, 6))
    rows[5] = rows[4]
    of_rows = {"rows": np.arange(n_rows), "studies": np.arange(n_rows) % 5, "one": np.zeros(n_rows, int)}[groups]
    which = np.arange(0, n_rows, step)
    distances, positions = nearest.nearest(
        rows[:n], rows, 7, which=which, apart=(of_rows[:n].astype(np.int32), of_rows)
    )
    everything = measure(rows[:n], rows, which[None])
    for i in range(n):
        allowed = of_rows[which] != of_rows[i]
        expected = oracles.smallest(everything[i, allowed], which[allowed], 7)
        n_found = len(expected[1])
        np.testing.assert_array_equal(positions[i, :n_found], expected[1])
        np.testing.assert_array_equal(distances[i, :n_found], expected[0])
        assert (positions[i, n_found:] == -1).all()
        assert np.isinf(distances[i, n_found:]).all()


def test_more_neighbours_than_rows_and_no_queries(rows):
    distances, positions = nearest.nearest(rows[:2], rows[:3], 5)
    assert (np.sort(positions, axis=1) == [-1, -1, 0, 1, 2]).all()
    assert np.isinf(distances[:, 3:]).all()
    assert [part.shape for part in nearest.nearest(rows[:0], rows, 5)] == [(0, 5), (0, 5)]
