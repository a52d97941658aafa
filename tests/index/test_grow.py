"""Rows appended, deleted and taken together; saved and opened in between."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import oracles
from scim._core import FilterError

from .conftest import assert_equal, assert_near, clusters, look_everywhere, table

STATES = ("built", "appended", "deleted", "both", "again", "compacted")
ROWS, OBS = clusters(500), table(500)
IDS = np.random.default_rng(5).permutation(1_000)[:500]


def some_of(obs, rows):
    return {name: [values[row] for row in rows] for name, values in obs.items()}


def build(kind, rows=range(300)):
    rows = list(rows)
    return look_everywhere(scim.index.build(ROWS[rows], IDS[rows], obs=some_of(OBS, rows), kind=kind, rng=0))


def append(index, rows):
    index.append(ROWS[list(rows)], IDS[list(rows)], obs=some_of(OBS, rows))


def in_state(kind, state):
    """An index and the numbers of the rows that it has."""
    index = build(kind)
    if state in ("appended", "both", "again", "compacted"):
        append(index, range(300, 420))
        append(index, range(420, 500))
    if state in ("deleted", "both", "again", "compacted"):
        index.delete(IDS[[3, 200, 17]])
    if state in ("both", "again", "compacted"):
        index.delete(IDS[[310, 450, 451]])
    if state in ("again", "compacted"):
        append(index, [450, 3])
    if state == "compacted":
        index.compact(rng=0)
        look_everywhere(index)
    gone = {"built": [], "appended": [], "deleted": [3, 200, 17], "both": [3, 200, 17, 310, 450, 451]}
    rows = np.arange(300 if state in ("built", "deleted") else 500)
    return index, np.setdiff1d(rows, gone.get(state, [200, 17, 310, 451]))


def check(index, rows, queries):
    """Check that the hits are those of brute force over these rows."""
    ids = IDS[rows]
    np.testing.assert_array_equal(index.ids, np.sort(ids))
    assert index.n_rows == len(rows)
    for k in (7, 600):
        assert_near(index.query(queries, k), oracles.neighbors(queries, ROWS[rows], k, ids=ids), atol=4e-5)
    passing = ids[oracles.rows_that_pass(("<", "share", 300), some_of(OBS, rows))]
    np.testing.assert_array_equal(index.select("share < 300"), np.sort(passing))
    allowed = IDS[::3]
    for some in ({"where": "share < 300"}, {"allowed": allowed}, {"where": "share < 300", "allowed": allowed}):
        expected = np.intersect1d(passing if "where" in some else ids, allowed if "allowed" in some else ids)
        expected = oracles.neighbors(queries, ROWS[rows], 20, ids=ids, allowed=expected)
        assert_near(index.query(queries, 20, **some), expected, atol=4e-5)
    np.testing.assert_allclose(index.vectors(ids), oracles.unit(ROWS[rows]), atol=6e-5)
    frame = index.obs(ids)
    np.testing.assert_array_equal(frame.index, ids)
    for name, values in some_of(OBS, rows).items():
        assert [None if pd.isna(value) else value for value in frame[name]] == values


@pytest.mark.parametrize("state", STATES)
def test_hits_in_each_state(kind, state, queries, tmp_path):
    index, rows = in_state(kind, state)
    check(index, rows, queries)
    index.save(tmp_path / "index")
    scim.index.verify(tmp_path / "index")
    for resident in ("none", "codes", "all"):
        opened = look_everywhere(scim.index.open(tmp_path / "index", resident=resident))
        assert repr(opened) == repr(index)
        assert_equal(opened.query(queries, 9), index.query(queries, 9))
        assert_equal(opened.query(queries, 9, where="ok == True"), index.query(queries, 9, where="ok == True"))
    check(opened, rows, queries)
    append(opened, np.setdiff1d(np.arange(500), rows))  # an opened index grows too
    check(opened, np.arange(500), queries)


def test_compact_is_a_fresh_build(kind, queries):
    index, rows = in_state(kind, "compacted")
    fresh = build(kind, rows)
    assert (index.kind, index.n_appended, index.n_rows) == (kind, 0, len(rows))
    assert index.columns == fresh.columns
    assert_near(index.query(queries, 50), fresh.query(queries, 50), atol=4e-5)
    if kind != "ivf":
        assert_equal(index.query(queries, 50), fresh.query(queries, 50))


def test_compact_keeps_parameters():
    index = scim.index.build(ROWS, kind="ivf", rng=0, recall=0.9, n_lists=7)
    index.compact(rng=0)
    assert index.params["recall"] == 0.9
    assert index._segments[0].engine.n_lists == 7
    index = scim.index.build(ROWS[:100], kind="graph", rng=0, n_neighbors=5, ef_search=30)
    index.compact(rng=0)
    assert index.params == {"n_neighbors": 5, "ef_search": 30}


def test_default_ids(kind):
    index = scim.index.build(ROWS[:50], np.arange(50) * 2, kind=kind, rng=0)
    index.append(ROWS[50:53])
    index.append(ROWS[53:54])
    np.testing.assert_array_equal(index.ids[-4:], [99, 100, 101, 102])
    assert (index.n_rows, index.n_appended) == (54, 4)
    assert repr(index) == f"<scim index: {kind}, 54 rows (4 appended) x 16>"
    np.testing.assert_array_equal(index.query(ROWS[50:54], 1).ids[:, 0], [99, 100, 101, 102])
    index.append(ROWS[:0])
    assert index.n_rows == 54


def test_existing_ids_are_refused(kind, queries):
    index = build(kind)
    append(index, range(300, 310))
    expected = index.query(queries, 9)
    for known in (4, 305):
        with pytest.raises(ValueError, match=f"1 of the `ids` are in the index already, the first is {IDS[known]}"):
            append(index, [450, known])
    with pytest.raises(ValueError, match="`ids` must be distinct"):
        index.append(ROWS[:2], [2_000, 2_000])
    assert index.n_rows == 310
    assert_equal(index.query(queries, 9), expected)


def test_columns_that_are_new_or_missing(kind):
    index = scim.index.build(ROWS[:100], obs={"a": np.arange(100), "b": ["x", "y"] * 50}, kind=kind, rng=0)
    index.append(ROWS[100:104], obs={"a": [5, 6, 7, 8], "c": ["new"] * 4})
    index.append(ROWS[104:106])
    index.append(ROWS[106:107], obs={"c": ["newer"]})
    assert index.columns == ["a", "b", "c"]
    frame = index.obs([105, 100, 3, 106])
    assert [None if pd.isna(value) else value for value in frame["a"]] == [None, 5, 3, None]
    assert [None if pd.isna(value) else value for value in frame["b"]] == [None, None, "y", None]
    assert [None if pd.isna(value) else value for value in frame["c"]] == [None, "new", None, "newer"]
    np.testing.assert_array_equal(index.select("a == 5"), [5, 100])
    np.testing.assert_array_equal(index.select("c == 'new'"), [100, 101, 102, 103])
    np.testing.assert_array_equal(
        index.select("c in ['new', 'newer'] or b == 'x' and a < 3"), [0, 2, *range(100, 104), 106]
    )
    np.testing.assert_array_equal(index.select("b == None"), np.arange(100, 107))
    with pytest.raises(FilterError, match="newest"):
        index.select("c == 'newest'")
    index.compact(rng=0)
    np.testing.assert_array_equal(index.select("c == 'new'"), [100, 101, 102, 103])
    assert index.obs([101])["c"].tolist() == ["new"]


def test_columns_of_another_kind_are_refused(kind):
    index = scim.index.build(ROWS[:100], obs={"a": np.arange(100)}, kind=kind, rng=0)
    index.append(ROWS[100:101], obs={"a": [7]})
    with pytest.raises(TypeError, match="'a'"):
        index.append(ROWS[101:102], obs={"a": ["text"]})
    assert index.n_rows == 101


def test_unknown_ids_are_not_deleted(kind, queries):
    index, rows = in_state(kind, "both")
    for unknown in (5_000, -1, IDS[3]):  # the last was deleted before
        with pytest.raises(KeyError, match=f"1 of 2 ids are not in the index, the first is {unknown}"):
            index.delete([IDS[0], unknown])
    check(index, rows, queries)
    index.delete([])
    assert index.n_rows == len(rows)


def test_deleted_rows_are_no_hits(kind):
    index = build(kind)
    append(index, range(300, 350))
    near = index.query(ROWS[:1], 20).ids[0]
    index.delete(near)
    found = index.query(ROWS[:1], 350).ids[0]
    assert not np.isin(near, found).any()
    assert (found >= 0).sum() == 330
    assert (index.query(ROWS[:1], 5, allowed=near).ids == -1).all()
    for call in (index.obs, index.vectors):
        with pytest.raises(KeyError, match="are not in the index"):
            call(near)


def test_all_rows_deleted(kind, tmp_path):
    index = build(kind)
    append(index, range(300, 303))
    index.delete(index.ids)
    assert (index.n_rows, index.n_appended, len(index.ids)) == (0, 0, 0)
    assert (index.query(ROWS[:2], 3).ids == -1).all()
    assert (index.query(ROWS[:2], 3, distinct=True, where="share < 500").ids == -1).all()
    with pytest.raises(ValueError, match="All rows were deleted; an index needs at least one"):
        index.compact()
    index.save(tmp_path / "index")
    opened = scim.index.open(tmp_path / "index")
    assert opened.n_rows == 0
    append(opened, range(10))
    np.testing.assert_array_equal(opened.query(ROWS[4], 1).ids, [[IDS[4]]])
    opened.compact(rng=0)
    assert opened.n_rows == 10


def test_save_over_the_index_that_is_open(kind, queries, tmp_path):
    index, _ = in_state(kind, "both")
    index.save(tmp_path / "index")
    opened = look_everywhere(scim.index.open(tmp_path / "index"))
    opened.append(ROWS[3:4], [3_000])
    expected = opened.query(queries, 8)
    opened.save(tmp_path / "index", overwrite=True)
    assert_equal(look_everywhere(scim.index.open(tmp_path / "index")).query(queries, 8), expected)
