"""Any rows, queries, filters and growth: every kind returns the hits of exact search."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scim
from helpers import oracles

from .conftest import ATOL, look_everywhere

ANY = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def cases(draw):
    """Few distinct values: duplicates, rows of zeros and ties; ids in any order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    n, dim, levels = draw(st.integers(1, 150)), draw(st.integers(1, 70)), draw(st.sampled_from([1, 3, 1_000]))
    base = rng.integers(-levels, levels + 1, (n, dim)).astype(np.float32)
    base[rng.random(n) < draw(st.sampled_from([0, 0.3]))] = 0
    base = base[rng.integers(n, size=n)] if draw(st.booleans()) else base
    queries = np.concatenate([rng.normal(size=(5, dim)), np.zeros((1, dim)), base[:3]])
    return base, rng.choice(3 * n, n, replace=False), queries, draw(st.integers(1, 200)), rng


def check(found, base, ids, queries, k, allowed=None):
    """Check distances by brute force, and distinct ids at these distances; ties are sorted by id if bits are equal."""
    expected, _ = oracles.neighbors(queries, base, k, ids=ids, allowed=allowed)
    np.testing.assert_allclose(found.distances, expected, atol=ATOL)
    real = found.ids >= 0
    np.testing.assert_array_equal(real, np.isfinite(expected))
    assert all(len(set(row[some])) == some.sum() for row, some in zip(found.ids, real, strict=True))
    assert np.isin(found.ids[real], ids if allowed is None else allowed).all()
    rows = np.empty(max(ids) + 1, dtype=np.int64)
    rows[ids] = np.arange(len(ids))
    everything = oracles.cosine_distances(queries, base)
    own = np.take_along_axis(everything, rows[np.where(real, found.ids, ids[0])], axis=1)
    np.testing.assert_allclose(np.where(real, own, np.inf), found.distances, atol=ATOL)
    tied = (found.distances[:, 1:] == found.distances[:, :-1]) & real[:, 1:]
    assert (found.ids[:, 1:] > found.ids[:, :-1])[tied].all()


@ANY
@given(case=cases())
def test_any_rows(kind, case):
    base, ids, queries, k, _ = case
    index = look_everywhere(scim.index.build(base, ids, kind=kind, rng=0))
    check(index.query(queries, k), base, ids, queries, k)


@ANY
@given(case=cases(), share=st.sampled_from([0, 0.02, 0.1, 0.5, 1]))
def test_any_filter(kind, case, share):
    base, ids, queries, k, rng = case
    passes = rng.random(len(ids)) < share
    index = scim.index.build(base, ids, kind=kind, rng=0, obs={"passes": passes})
    allowed = ids[passes]
    found = look_everywhere(index).query(queries, k, allowed=allowed)
    check(found, base, ids, queries, k, allowed)
    same = index.query(queries, k, where="passes == True")
    np.testing.assert_array_equal(same.ids, found.ids)
    np.testing.assert_array_equal(same.distances, found.distances)


@ANY
@given(case=cases(), share=st.floats(0, 1))
def test_any_growth(kind, case, share):
    base, ids, queries, k, rng = case
    n = len(ids) // 2 + 1
    index = look_everywhere(scim.index.build(base[:n], ids[:n], kind=kind, rng=0))
    index.append(base[n:], ids[n:])
    gone = ids[rng.random(len(ids)) < share]
    index.delete(gone)
    left = np.setdiff1d(ids, gone)
    check(index.query(queries, k), base, ids, queries, k, left)
    if len(left):
        index.compact(rng=0)
        check(look_everywhere(index).query(queries, k), base, ids, queries, k, left)


@ANY
@given(case=cases())
def test_any_duplicates(kind, case):
    base, ids, queries, k, _ = case
    found = look_everywhere(scim.index.build(base, ids, kind=kind, rng=0)).query(queries, k, distinct=True)
    values, which = np.unique(oracles.unit(base).round(4), axis=0, return_inverse=True)
    n_found = min(k, int(values.any(axis=1).sum()))
    assert ((found.ids >= 0).sum(axis=1) == np.where(queries.any(axis=1), n_found, 0)).all()
    group = np.empty(max(ids) + 1, dtype=np.int64)
    group[ids] = which.ravel()
    for row in found.ids:
        mine = group[row[row >= 0]]
        assert len(set(mine)) == len(mine)
