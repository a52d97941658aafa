"""All rows within a distance, against brute force."""

from __future__ import annotations

import numpy as np
import pytest

import scim
from helpers import oracles
from scim.index import RadiusNeighbors

from .conftest import ATOL, clusters, thorough


def check(found, queries, base, max_distance, *, limit=None, atol=0.0):
    """Check that all rows clearly inside the radius are found, none clearly outside, nearest first."""
    assert isinstance(found, RadiusNeighbors)
    assert len(found.starts) == len(queries) + 1
    assert (found.starts[0], found.starts[-1]) == (0, len(found.ids))
    distances = oracles.cosine_distances(queries, base)
    for i, (start, stop) in enumerate(zip(found.starts[:-1], found.starts[1:], strict=True)):
        mine, near = found.ids[start:stop], found.distances[start:stop]
        assert (np.diff(near) >= 0).all()
        assert (near <= np.float32(max_distance)).all()
        np.testing.assert_allclose(near, distances[i, mine], atol=ATOL)
        sure = np.flatnonzero(distances[i] <= max_distance - atol)
        if limit is None or len(sure) <= limit:
            assert set(sure) <= set(mine)
        else:
            assert len(mine) == limit
            assert near[-1] <= np.sort(distances[i])[limit - 1] + atol


@pytest.mark.parametrize("max_distance", [0.05, 0.3, 1, 2])
@pytest.mark.parametrize("limit", [None, 1, 70, 5_000])
def test_brute_force(kind, base, queries, max_distance, limit):
    found = thorough(base, kind).query_radius(queries, max_distance, limit=limit)
    check(found, queries, base, max_distance, limit=limit, atol=ATOL)
    if max_distance == 2 and limit is None:
        np.testing.assert_array_equal(np.diff(found.starts), 400)


def test_distance_zero_finds_equal_rows(kind):
    base = np.repeat(np.eye(4, 8, dtype=np.float32), 90, axis=0)
    found = thorough(base, kind).query_radius(base[:180:90], 0)
    np.testing.assert_array_equal(found.starts, [0, 90, 180])
    np.testing.assert_array_equal(found.ids, np.arange(180))


def test_among_some(kind, base, queries):
    index = scim.index.build(base, kind=kind, rng=0, obs={"a": np.arange(400) % 4})
    expected = thorough(base[::4], "exact").query_radius(queries, 0.6)
    for some in ({"where": "a == 0"}, {"allowed": np.arange(0, 400, 4)}):
        params = {"probe_factor": 1e6, "rerank_factor": 1e3} if kind == "ivf" else {}
        found = index.query_radius(queries, 0.6, **some, **params)
        np.testing.assert_array_equal(found.starts, expected.starts)
        np.testing.assert_array_equal(found.ids, expected.ids * 4)


def test_nothing(kind, base):
    index = thorough(base, kind)
    nothing = index.query_radius(-base[:3] + 100 * np.eye(3, 16), 0)
    np.testing.assert_array_equal(nothing.starts, [0, 0, 0, 0])
    assert (nothing.ids.dtype, nothing.distances.dtype) == (np.int64, np.float32)
    np.testing.assert_array_equal(index.query_radius(base[:0], 1).starts, [0])
    np.testing.assert_array_equal(index.query_radius(base[0], 2, allowed=[]).starts, [0, 0])


def test_nothing_is_left(kind, base):
    index = thorough(base, kind)
    index.delete(index.ids)
    np.testing.assert_array_equal(index.query_radius(base[:2], 2).starts, [0, 0, 0])
    with pytest.raises(TypeError, match="Unknown parameter 'far'"):
        index.query_radius(base[:2], 2, far=3)


def test_queries_that_need_more_than_others(kind):
    base = np.concatenate([clusters(300, 8, n_clusters=1), -clusters(5, 8, n_clusters=1)])
    queries = np.concatenate([base[:2], base[-2:], base[:1]])
    check(thorough(base, kind).query_radius(queries, 0.5), queries, base, 0.5, atol=ATOL)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"max_distance": -0.1}, ValueError, "max_distance must be between 0 and 2, got -0.1"),
        ({"max_distance": 2.1}, ValueError, "between 0 and 2, got 2.1"),
        ({"max_distance": float("nan")}, ValueError, "between 0 and 2, got nan"),
        ({"max_distance": "near"}, TypeError, "must be a number between 0 and 2, got 'near'"),
        ({"limit": 0}, ValueError, "limit must be at least 1, got 0"),
        ({"X": np.ones((2, 5))}, ValueError, "have 5 columns"),
        ({"n_threads": 0}, ValueError, "n_threads must be at least 1"),
    ],
)
def test_errors(base, change, error, match):
    arguments = {"X": base, "max_distance": 1, **change}
    with pytest.raises(error, match=match):
        scim.index.build(base, kind="exact").query_radius(**arguments)
