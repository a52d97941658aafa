"""Properties of every kind of index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scim
from helpers import oracles
from scim.index import Neighbors

from .conftest import ATOL, assert_equal, assert_near, clusters, look_everywhere, thorough


@pytest.mark.parametrize("k", [1, 7, 400, 450])
def test_hits_are_those_of_brute_force(kind, base, queries, k):
    found = thorough(base, kind).query(queries, k)
    assert isinstance(found, Neighbors)
    assert found.distances.dtype == np.float32
    assert found.ids.dtype == np.int64
    assert found.ids.shape == found.distances.shape == (40, k)
    assert (np.diff(found.distances[:, : min(k, 400)], axis=1) >= 0).all()
    assert_near(found, oracles.neighbors(queries, base, k))


def test_own_ids(kind, base, queries):
    ids = np.random.default_rng(0).choice(10_000, len(base), replace=False)
    index = thorough(base, kind, ids)
    np.testing.assert_array_equal(index.ids, np.sort(ids))
    assert (index.n_rows, index.dim, index.kind) == (400, 16, kind)
    assert_near(index.query(queries, 9), oracles.neighbors(queries, base, 9, ids=ids))


@pytest.mark.parametrize(
    "allowed",
    [[], [7], [7, 7, 3], [390, 2, 5, 11], range(0, 400, 2), range(1, 400), range(400), [5, 10_000, -4, 8]],
    ids=["none", "one", "twice", "few", "half", "most", "all", "unknown"],
)
@pytest.mark.parametrize("k", [3, 60])
def test_allowed(kind, base, queries, allowed, k):
    found = thorough(base, kind).query(queries, k, allowed=np.array(allowed, dtype=np.int64))
    assert_near(found, oracles.neighbors(queries, base, k, allowed=allowed))


@pytest.mark.parametrize("n_allowed", [1, 30, 300, 900])
def test_allowed_rows_far_from_the_query(kind, n_allowed):
    # The default ef_search: the number of hits is right with any.
    base = clusters(2_000, 8)
    query = base[:3]
    far = np.argsort(-oracles.cosine_distances(query[:1], base)[0], kind="stable")[:n_allowed]
    found = scim.index.build(base, kind=kind, rng=0, **({"ef_search": 20} if kind == "graph" else {})).query(
        query, 40, allowed=far
    )
    n_hits = min(40, n_allowed)
    assert ((found.ids >= 0).sum(axis=1) == n_hits).all()
    assert np.isin(found.ids[:, :n_hits], far).all()
    assert all(len(set(row[:n_hits])) == n_hits for row in found.ids)


NOTHING = Neighbors(np.full((1, 3), np.inf), np.full((1, 3), -1))


def with_zero_rows(*zero):
    base = clusters(60)
    base[[*zero]] = 0
    return base


def test_a_row_of_zeros_finds_nothing(kind, queries):
    index = thorough(clusters(60), kind)
    among_others = np.insert(queries, [0, 7, 40], 0, axis=0)
    found = index.query(among_others, 3)
    assert_equal(Neighbors(found.distances[[0, 8, 42]], found.ids[[0, 8, 42]]), [np.repeat(p, 3, 0) for p in NOTHING])
    assert_equal(Neighbors(*(np.delete(part, [0, 8, 42], axis=0) for part in found)), index.query(queries, 3))
    for arguments in ({}, {"distinct": True}, {"allowed": [3, 4, 5]}):
        assert_equal(index.query(np.zeros(16), 3, **arguments), NOTHING)
    within = index.query_radius(np.zeros((2, 16)), 2)
    assert (len(within.ids), within.starts.tolist()) == (0, [0, 0, 0])


@pytest.mark.parametrize("zero", [[0], range(1, 60, 2), range(2, 60)], ids=["first", "half", "most"])
def test_rows_of_zeros_are_never_found(kind, queries, zero):
    base, is_a = with_zero_rows(*zero), np.arange(60) % 3 == 0
    index = thorough(base, kind, obs={"tissue": np.where(is_a, "a", "b")})
    np.testing.assert_array_equal(index.empty_ids, [*zero])
    assert index.n_rows == len(index.ids) == 60
    assert not index.vectors([*zero]).any()
    np.testing.assert_array_equal(index.select("tissue == 'a'"), np.flatnonzero(is_a))
    filters = [({}, True), ({"where": "tissue == 'a'"}, is_a), ({"allowed": range(40)}, np.arange(60) < 40)]
    for arguments, passes in filters:
        allowed = np.flatnonzero(base.any(axis=1) & passes)
        expected = oracles.neighbors(queries, base, 60, allowed=allowed)
        assert_near(index.query(queries, 60, **arguments), expected)
        assert_near(index.query(queries, 60, distinct=True, **arguments), expected)
        within = index.query_radius(queries[0], 2, **arguments)
        np.testing.assert_array_equal(np.sort(within.ids), allowed)


def test_an_index_of_zeros_finds_nothing(kind, tmp_path):
    index = thorough(np.zeros((30, 4)), kind)
    index.save(tmp_path / "zeros")
    for same in (index, scim.index.open(tmp_path / "zeros")):
        assert_equal(same.query(np.ones((1, 4)), 3), NOTHING)
        assert same.query_radius(np.ones((1, 4)), 2).ids.size == 0
        assert (same.n_rows, len(same.empty_ids)) == (30, 30)


def test_rows_of_zeros_that_are_appended_saved_deleted_or_compacted(kind, queries, tmp_path):
    ids = np.random.default_rng(0).permutation(300)[:120]
    base = clusters(120)
    base[[4, 20, 67]] = 0
    index = thorough(base[:60], kind, ids[:60])
    index.append(base[60:], ids[60:])
    expected = oracles.neighbors(queries, base, 120, ids=ids, allowed=ids[base.any(axis=1)])
    empty = np.sort(ids[[4, 20, 67]])

    def check(found):
        assert_near(look_everywhere(found).query(queries, 120), expected)
        np.testing.assert_array_equal(found.empty_ids, empty)

    check(index)
    index.save(tmp_path / "a")
    check(scim.index.open(tmp_path / "a"))
    thorough(base[60:], kind, ids[60:]).save(tmp_path / "c")
    thorough(base[:60], kind, ids[:60]).save(tmp_path / "b")
    check(scim.index.open([tmp_path / "b", tmp_path / "c"]))
    index.compact(rng=0)
    check(index)
    index.delete(empty[:2])
    np.testing.assert_array_equal(index.empty_ids, empty[2:])
    assert_near(index.query(queries, 120), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("dim", [3, 64, 300])
def test_equal_rows_are_at_distance_zero_by_id(kind, dim, dtype):
    base = np.repeat(clusters(50, dim, n_clusters=5), 3, axis=0).astype(dtype)
    ids = np.random.default_rng(0).permutation(len(base)) * 2
    index = thorough(base, kind, ids)
    copies = np.sort(ids.reshape(50, 3), axis=1)
    for scaled in (base[::3], base[::3].astype(np.float64) * 7, base[::3].astype(np.float32) / 3):
        found = index.query(scaled, 3)
        np.testing.assert_array_equal(found.distances, 0)
        assert not np.signbit(found.distances).any()
        np.testing.assert_array_equal(found.ids, copies)
        within = index.query_radius(scaled, 0)
        np.testing.assert_array_equal(within.ids.reshape(50, 3), copies)
        np.testing.assert_array_equal(index.query(scaled, 2, distinct=True).ids[:, 0], copies[:, 0])


def test_a_radius_is_inclusive(kind, queries):
    index = thorough(clusters(60), kind)
    found = index.query(queries, 5)
    for distances, ids, query in zip(found.distances, found.ids, queries, strict=True):
        for radius in (distances[4], np.float64(distances[4]), float(distances[4])):
            np.testing.assert_array_equal(index.query_radius(query, radius).ids, ids)
    opposite = -clusters(60)[:1]
    assert 0 in index.query_radius(opposite, 2).ids


def test_duplicates_are_sorted_by_id(kind, queries):
    base = np.repeat(clusters(20), 30, axis=0)
    ids = np.random.default_rng(0).permutation(len(base)) * 3
    found = thorough(base, kind, ids).query(queries, 45)
    tied = np.diff(found.distances, axis=1) == 0
    assert tied.sum() >= 40 * 43
    assert (np.diff(found.ids, axis=1)[tied] > 0).all()
    assert_near(found, oracles.neighbors(queries, base, 45, ids=ids))


def test_own_row_is_first_at_distance_zero(kind, base):
    found = thorough(base, kind).query(base * 7, 2)
    np.testing.assert_array_equal(found.ids[:, 0], np.arange(len(base)))
    assert (found.distances[:, 0] <= ATOL).all()
    assert (found.distances >= 0).all()
    assert thorough(base, kind).query(-base[:5], 400).distances.max() <= 2


def test_hits_do_not_depend_on_batches_or_threads(kind):
    base, queries = clusters(1_500, 24), clusters(70, 24, seed=3)
    index = scim.index.build(base, kind=kind, rng=0, **({"ef_search": 60} if kind == "graph" else {}))
    whole = index.query(queries, 12, n_threads=2)
    assert_equal(index.query(queries, 12, n_threads=1), whole)
    alone = [index.query(query, 12) for query in queries]
    assert_equal(Neighbors(*(np.concatenate(part) for part in zip(*alone, strict=True))), whole)
    assert_equal(index.query(queries[::-1], 12), Neighbors(whole.distances[::-1], whole.ids[::-1]))
    allowed = np.arange(0, 1_500, 2)
    some = index.query(queries, 12, allowed=allowed)
    assert_equal(index.query(queries[5:6], 12, allowed=allowed[::-1]), Neighbors(some.distances[5:6], some.ids[5:6]))


def test_same_seed_same_index_whatever_the_threads(kind, base):
    one, two = (scim.index.build(base, kind=kind, rng=5, n_threads=n) for n in (1, 2))
    for name, array in one._segments[0].engine.arrays().items():
        np.testing.assert_array_equal(array, two._segments[0].engine.arrays()[name])
    assert one.params == two.params


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31), st.integers(2, 80), st.integers(1, 9))
def test_permuting_the_base_changes_nothing(kind, seed, n, dim):
    rng = np.random.default_rng(seed)
    base = rng.integers(-1, 2, size=(n, dim)).astype(np.float32)  # few values: duplicates, zero rows, ties
    ids, order = rng.choice(1_000, n, replace=False), rng.permutation(n)
    queries = rng.normal(size=(20, dim))
    first = scim.index.build(base, ids, kind=kind, rng=1).query(queries, 6)
    second = scim.index.build(base[order], ids[order], kind=kind, rng=1).query(queries, 6)
    assert_equal(second, first)


def test_save_and_open(kind, base, queries, tmp_path):
    index = scim.index.build(base, np.arange(400) * 2, kind=kind, rng=0)
    index.save(tmp_path / "index")
    scim.index.verify(tmp_path / "index")
    opened = scim.index.open(tmp_path / "index")
    assert type(opened) is type(index)
    assert opened.params == index.params
    assert repr(opened) == f"<scim index: {kind}, 400 rows x 16>"
    assert_equal(opened.query(queries, 20), index.query(queries, 20))
    allowed = np.arange(0, 800, 3)
    assert_equal(opened.query(queries, 20, allowed=allowed), index.query(queries, 20, allowed=allowed))
    assert not list((tmp_path / "index").glob("*.pkl"))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        index.save(tmp_path / "index")
    index.save(str(tmp_path / "index"), overwrite=True)
    scim.index.verify(tmp_path / "index")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tiny_bases(kind, n, tmp_path):
    base = clusters(n, 5)
    scim.index.build(base, kind=kind, rng=0).save(tmp_path / "index")
    assert_near(scim.index.open(tmp_path / "index").query(base, 4), oracles.neighbors(base, base, 4))


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 63, 64, 65, 128, 1024])
def test_dims(kind, dim):
    base, queries = clusters(90, dim), clusters(18, dim, seed=1)
    found = thorough(base, kind).query(queries, 4)
    np.testing.assert_allclose(found.distances, oracles.neighbors(queries, base, 4)[0], atol=ATOL)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_and_layouts(kind, dtype, tmp_path):
    base, queries = clusters(100).astype(dtype), clusters(20, seed=1).astype(dtype)
    expected = thorough(base, kind).query(queries, 5)
    assert_near(expected, oracles.neighbors(queries, base, 5))
    wide = np.zeros((200, 32), dtype)
    wide[::2, ::2] = base
    index = thorough(wide[::2, ::2], kind)
    assert_equal(index.query(queries, 5), expected)
    assert_equal(index.query(np.asfortranarray(queries), 5), expected)
    np.save(tmp_path / "base.npy", base)
    assert_equal(thorough(np.load(tmp_path / "base.npy", mmap_mode="r"), kind).query(queries, 5), expected)


def test_extreme_lengths(kind):
    base = clusters(50).astype(np.float64)
    expected = thorough(base, kind).query(base, 5)
    lengths = np.logspace(-300, 300, 50)[:, None]
    assert_near(thorough(base * lengths, kind).query(base * lengths[::-1], 5), expected)


def test_single_query_and_no_query(kind, base):
    index = scim.index.build(base, kind=kind, rng=0)
    assert index.query(base[3], 4).ids.shape == (1, 4)
    assert index.query(base[:0], 4).ids.shape == (0, 4)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"X": np.ones((2, 5))}, ValueError, "have 5 columns, the index has 16; embed them with the model"),
        ({"X": np.ones((2, 2, 16))}, ValueError, r"must be a matrix \(rows, dim\), got shape \(2, 2, 16\)"),
        ({"X": np.ones((2, 16), int)}, TypeError, r"got int64; pass X.astype\('float32'\)"),
        ({"X": np.full((3, 16), np.nan)}, ValueError, "3 of 3 queries hold NaN or infinity, the first is row 0"),
        ({"k": 0}, ValueError, "k must be at least 1, got 0"),
        ({"k": 2.5}, TypeError, "k must be a whole number, got 2.5"),
        ({"k": True}, TypeError, "k must be a whole number, got True"),
        ({"n_threads": 0}, ValueError, "n_threads must be at least 1"),
        ({"allowed": np.ones(400, bool)}, TypeError, r"got bool of shape \(400,\); pass the ids of rows"),
        ({"allowed": np.array([1.0])}, TypeError, "`allowed` must be a one-dimensional array of integers, got float64"),
        ({"allowed": np.ones((2, 2), int)}, TypeError, r"got int64 of shape \(2, 2\)"),
    ],
)
def test_errors_of_query(base, change, error, match):
    index = scim.index.build(base, kind="exact")
    arguments = {"X": base, "k": 3, **change}
    with pytest.raises(error, match=match):
        index.query(arguments.pop("X"), arguments.pop("k"), **arguments)
