"""Filters inside the search: `where`, `allowed` and both, at any share of passing rows."""

from __future__ import annotations

import numpy as np
import pytest

import scim
from helpers import oracles
from scim._core import FilterError

from .conftest import assert_equal, assert_near, clusters, look_everywhere, table

N = 1_200
CASES = {
    "share < 500": ("<", "share", 500),
    "share < 100": ("<", "share", 100),
    "share < 10": ("<", "share", 10),
    "tissue == 'lung' and not age < 30": ("and", ("==", "tissue", "lung"), ("not", ("<", "age", 30))),
    "tissue == None or ok == True": ("or", ("==", "tissue", None), ("==", "ok", True)),
    "share < 0": ("<", "share", 0),
}


@pytest.fixture(scope="module")
def base():
    return clusters(N, 16)


@pytest.fixture(scope="module")
def obs():
    return table(N)


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(3).permutation(3 * N)[:N]


@pytest.fixture(scope="module", params=["exact", "ivf", "graph"])
def index(request, base, ids, obs):
    return look_everywhere(scim.index.build(base, ids, obs=obs, kind=request.param, rng=0))


@pytest.mark.parametrize("where", CASES)
@pytest.mark.parametrize("k", [5, 300])
def test_where(index, base, ids, obs, queries, where, k):
    passing = oracles.rows_that_pass(CASES[where], obs)
    np.testing.assert_array_equal(index.select(where), np.sort(ids[passing]))
    found = index.query(queries, k, where=where)
    expected = oracles.neighbors(queries, base, k, ids=ids, allowed=ids[passing])
    assert_near(found, expected)
    assert ((found.ids >= 0).sum(axis=1) == min(k, passing.sum())).all()


@pytest.mark.parametrize("where", CASES)
@pytest.mark.parametrize("step", [2, 40])
def test_where_and_allowed(index, base, ids, obs, queries, where, step):
    allowed = ids[::step]
    passing = ids[oracles.rows_that_pass(CASES[where], obs)]
    expected = oracles.neighbors(queries, base, 30, ids=ids, allowed=np.intersect1d(allowed, passing))
    assert_near(index.query(queries, 30, where=where, allowed=allowed), expected)


@pytest.mark.parametrize("n_passing", [0, 1, 12, 120, 600])
@pytest.mark.parametrize("by", ["where", "allowed"])
def test_right_number_of_the_farthest_rows(kind, base, n_passing, by):
    # The defaults, not an exhaustive search: the number of hits is right with any search parameters.
    far = np.argsort(-oracles.cosine_distances(base[:1], base)[0], kind="stable")[:n_passing]
    flag = np.isin(np.arange(N), far)
    index = scim.index.build(base, kind=kind, rng=0, obs={"far": flag})
    found = index.query(base[:3], 40, **({"where": "far == True"} if by == "where" else {"allowed": far}))
    n_hits = min(40, n_passing)
    assert ((found.ids >= 0).sum(axis=1) == n_hits).all()
    assert np.isinf(found.distances[:, n_hits:]).all()
    assert all(set(row[:n_hits]) <= set(far) and len(set(row[:n_hits])) == n_hits for row in found.ids)
    if by == "where" and n_passing == 0:
        assert_equal(found, (np.full((3, 40), np.inf, np.float32), np.full((3, 40), -1)))


def test_filtered_hits_do_not_depend_on_batches_or_threads(index, queries):
    whole = index.query(queries, 9, where="share < 100", n_threads=2)
    assert_equal(index.query(queries[::-1], 9, where="share < 100", n_threads=1), [part[::-1] for part in whole])
    assert_equal(index.query(queries[7], 9, where="share < 100"), [part[7:8] for part in whole])


def test_filters_are_cached_and_evicted(index, base, queries):
    expected = index.query(queries, 4, where="share < 500")
    for bound in range(40):
        index.query(queries[:1], 1, where=f"share < {bound}")
    assert len(index._filters) <= 16
    assert_equal(index.query(queries, 4, where="share < 500"), expected)
    assert (index.query(queries, 4).ids >= 0).all()


@pytest.mark.parametrize(
    ("where", "match"),
    [
        ("tisue == 'lung'", "tissue"),
        ("tissue == 'lugn'", "lung"),
        ("share <", "share"),
        ("", "where"),
    ],
)
def test_errors(index, queries, where, match):
    index.query(queries, 1)
    for call in (lambda: index.query(queries, 1, where=where), lambda: index.select(where)):
        with pytest.raises(FilterError, match=match):
            call()
    with pytest.raises(FilterError):
        index.query_radius(queries, 0.1, where=where)
    with pytest.raises(FilterError):
        index.query(queries, 1, where=where, allowed=[1, 2])


def test_without_columns(base, queries):
    index = scim.index.build(base, kind="exact")
    assert index.columns == []
    with pytest.raises(FilterError, match="tissue"):
        index.query(queries, 1, where="tissue == 'lung'")
