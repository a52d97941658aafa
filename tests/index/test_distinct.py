"""Rows that are equal to a nearer hit are left out."""

from __future__ import annotations

import numpy as np
import pytest

import scim
from helpers import oracles

from .conftest import assert_near, clusters, look_everywhere, thorough


def test_duplicates_collapse_to_the_lowest_id(kind, queries):
    base = clusters(50)
    ids = np.random.default_rng(0).permutation(500)
    twice = np.tile(base, (10, 1))
    lowest = ids.reshape(10, 50).min(axis=0)
    found = thorough(twice, kind, ids).query(queries, 30, distinct=True)
    assert_near(found, oracles.neighbors(queries, base, 30, ids=lowest))
    assert (np.diff(found.distances, axis=1) >= 0).all()


def test_fewer_rows_than_wanted(kind, queries):
    base = np.tile(clusters(6), (40, 1))
    found = thorough(base, kind).query(queries, 9, distinct=True)
    assert ((found.ids >= 0).sum(axis=1) == 6).all()
    assert np.isinf(found.distances[:, 6:]).all()
    assert (np.sort(found.ids[:, :6], axis=1) == np.arange(6)).all()


def test_all_rows_equal(kind):
    found = thorough(np.ones((500, 8), np.float32), kind).query(np.ones((2, 8)), 5, distinct=True)
    np.testing.assert_array_equal(found.ids, [[0, -1, -1, -1, -1]] * 2)


def test_nothing_to_collapse(kind, base, queries):
    index = thorough(base, kind)
    plain, found = index.query(queries, 20), index.query(queries, 20, distinct=True)
    np.testing.assert_array_equal(found.ids, plain.ids)
    np.testing.assert_array_equal(found.distances, plain.distances)


def test_near_rows_are_no_duplicates(kind):
    # Equally far from the query, but in other directions.
    base = np.concatenate([np.eye(6), -np.eye(6)]).astype(np.float32)
    query = np.zeros((1, 6), np.float32)
    query[0, 0] = 1
    found = thorough(base, kind).query(query, 12, distinct=True)
    assert set(found.ids[0].tolist()) == set(range(12))


def test_across_parts(kind, base, queries):
    index = thorough(base, kind)
    index.append(base[:100] * 3)
    index.append(base[50:150])
    expected = thorough(base, "exact").query(queries, 25)
    found = index.query(queries, 25, distinct=True)
    assert_near(found._replace(ids=origin(found.ids)), expected)
    assert all(len(set(origin(row))) == 25 for row in found.ids)
    index.compact(rng=0)
    found = look_everywhere(index).query(queries, 25, distinct=True)
    assert all(len(set(origin(row))) == 25 for row in found.ids)


def origin(ids):
    """Return the row of the base that an appended row duplicates."""
    return np.where(ids < 400, ids, np.where(ids < 500, ids - 400, ids - 450))


@pytest.mark.parametrize("where", ["copy == 2", "copy >= 1"])
def test_among_some(kind, queries, where):
    base = clusters(40)
    obs = {"copy": np.repeat([0, 1, 2], 40)}
    index = look_everywhere(scim.index.build(np.tile(base, (3, 1)), obs=obs, kind=kind, rng=0))
    found = index.query(queries, 15, where=where, distinct=True)
    first = 80 if where == "copy == 2" else 40
    assert_near(found, oracles.neighbors(queries, base, 15, ids=np.arange(40) + first))
