"""Rows of obs and filters read from the index equal those of the store, types included."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes
from scim._core import FilterError
from scim.atlas import _index

FILTERS = [
    "tissue == 'lung'",
    "tissue != 'lung' and not n < 30",
    "age == None or age > 60.5",
    "`note` in ['note 1', 'note 2']",
    "primary",
    "primary != True",
    "label_id == 'CL:0000084' and study == 'two'",
    "cell_id == 'cell3'",
    "n > 1000",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The same atlas without its index."""
    with scim.atlas.open(fakes.toy_atlas(tmp_path_factory.mktemp("store") / "toy.scim", index=False)) as opened:
        yield opened


def no_reading(*_):
    msg = "the store was read"
    raise AssertionError(msg)


@pytest.fixture
def unread(monkeypatch):
    """Fail when the store is read."""
    monkeypatch.setattr("scim.atlas._snapshot.read_obs", no_reading)


@pytest.mark.parametrize("where", FILTERS)
def test_select_is_the_same(atlas, store, where):
    found = atlas.select(where)
    np.testing.assert_array_equal(found, store.select(where))
    assert found.dtype == np.int64


def test_select_reads_no_store(atlas, unread):
    assert atlas.indexes(atlas.columns)
    assert len(atlas.select("tissue == 'lung'")) == 75


@pytest.mark.parametrize("ids", [None, [], [3], [149, 0, 7, 7], np.arange(150)[::-1]])
@pytest.mark.parametrize("columns", [None, ["note", "n"], [], "age"])
def test_obs_is_the_same(atlas, store, ids, columns):
    pd.testing.assert_frame_equal(atlas.obs(ids, columns=columns), store.obs(ids, columns=columns))


def test_labels_are_the_same(atlas, store):
    for ours, theirs in zip(atlas.labels, store.labels, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("where", ["tisue == 'lung'", "tissue == 'lungs'", "tissue > 3", "tissue = 'lung'", "note"])
def test_errors_are_the_same(atlas, store, where):
    messages = []
    for one in (atlas, store):
        with pytest.raises(FilterError) as error:
            one.select(where)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def odd_cells(n=40):
    cells = fakes.cells(n, seed=6)
    row = np.arange(n)
    cells.obs["percent mt"] = row / 4
    cells.obs["disease"] = np.array(["asthma", "asthma || fibrosis", "normal"])[row % 3]
    cells.obs["nothing"] = np.full(n, np.nan)
    return cells


def test_columns_of_many_values_are_read_from_the_store(writable, monkeypatch):
    monkeypatch.setattr(_index, "MOST_VALUES", 20)
    columns = ["percent mt", "disease", "nothing", "tissue"]
    writable.append(odd_cells(), study="odd", label_key="cell_type", obs_columns=columns)
    before = writable.obs([7, 2, 2])
    writable.build_index()
    assert writable.index.columns == ["study", "label", "label_id", "disease", "nothing", "percent mt", "tissue"]
    assert not writable.indexes(["cell_id"])
    pd.testing.assert_frame_equal(writable.obs([7, 2, 2]), before)
    assert len(writable.select("cell_id in ['cell1', 'cell2']")) == 2
    assert writable.select("`percent mt` < 0.6 and disease == 'fibrosis'").tolist() == [1]
    assert len(writable.select("disease == 'fibrosis'")) == 13
    assert len(writable.select("nothing == None")) == 40
    cells = odd_cells()
    scim.tl.embed(cells, writable)
    for where in ("cell_id != 'cell1'", "`percent mt` < 9.6 and cell_id != 'cell1' and disease == 'asthma'"):
        scim.tl.search(cells, writable, k=2, where=where)
        assert set(cells.obsm["scim_search_ids"].ravel()) <= set(writable.select(where))


def test_after_an_append_the_index_has_all_cells(writable, monkeypatch):
    writable.append(fakes.cells(30, seed=4), study="a", obs_columns=["tissue"])
    writable.build_index()
    writable.append(fakes.cells(30, seed=5), study="b", obs_columns=["tissue", "n"])
    monkeypatch.setattr("scim.atlas._snapshot.read_obs", no_reading)
    assert writable.indexes(["tissue", "n"])
    assert writable.select("n == 29").tolist() == [59]
    assert len(writable.select("n == None")) == 30
    assert len(writable.select("tissue == 'lung'")) == 30
    assert writable.obs()["study"].tolist() == ["a"] * 30 + ["b"] * 30
    assert writable.index.n_appended == 30


def test_a_column_that_one_part_lacks_is_read_from_the_store(writable, monkeypatch):
    monkeypatch.setattr(_index, "MOST_VALUES", 20)
    for study, n in (("a", 30), ("b", 10)):
        cells = fakes.cells(n, seed=n)
        cells.obs["note"] = [f"note {i}" for i in range(n)]
        writable.append(cells, study=study, obs_columns=["note"])
        if study == "a":
            writable.build_index()
    assert not writable.indexes(["note"])
    assert writable.select("note == 'note 9'").tolist() == [9, 39]
    assert writable.obs(columns=["note"])["note"].tolist() == [f"note {i}" for i in [*range(30), *range(10)]]


def test_numbers_that_all_differ_are_in_the_index(writable, monkeypatch):
    monkeypatch.setattr(_index, "MOST_VALUES", 5)
    monkeypatch.setattr(_index, "_COLUMN_ROWS", 7)
    rng = np.random.default_rng(0)
    for study, n in (("a", 30), ("b", 20)):
        cells = fakes.cells(n, seed=n)
        cells.obs["score"] = np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n))
        cells.obs["count"] = pd.array(rng.integers(0, 1 << 60, n), dtype="Int64")
        cells.obs.loc[cells.obs_names[3], "count"] = pd.NA
        writable.append(cells, study=study, obs_columns=["score", "count"])
        store = writable.obs()
        if study == "a":
            writable.build_index()
        monkeypatch.setattr("scim.atlas._snapshot.read_obs", no_reading)
        assert writable.indexes(["score", "count"])
        pd.testing.assert_frame_equal(writable.obs(columns=["score", "count"]), store[["score", "count"]])
        assert writable.select("score > 0.5").tolist() == store.index[store["score"] > 0.5].tolist()
        assert writable.select("count == None").tolist() == store.index[store["count"].isna()].tolist()
        monkeypatch.undo()
        monkeypatch.setattr(_index, "MOST_VALUES", 5)


def test_with_a_damaged_index_the_store_is_read(atlas_path, atlas, tmp_path):
    path = shutil.copytree(atlas_path, tmp_path / "copy.scim")
    next((path / "index").glob("*/index.json")).write_text("{}")
    with scim.atlas.open(path) as damaged:
        pd.testing.assert_frame_equal(damaged.obs(), atlas.obs())
        np.testing.assert_array_equal(damaged.select("n < 9"), np.arange(9))


def test_recall_is_passed_on(writable):
    writable.append(fakes.cells(90, seed=4), study="a", label_key="cell_type")
    writable.build_index(kind="ivf", recall=0.9)
    assert writable.index.kind == "ivf"
    assert writable.index.params["recall"] == 0.9
    writable.build_index(kind="exact")
    assert writable.index.kind == "exact"
    assert sorted(folder.name for folder in (writable.path / "index").iterdir()) == ["v000003", "v000004"]
    with pytest.raises(ValueError, match="recall must be between 0 and 1, got 2"):
        writable.build_index(recall=2)
    with pytest.raises(ValueError, match="recall must be above 0"):
        writable.build_index(recall=0)
    with pytest.raises(TypeError, match="recall must be a number"):
        writable.build_index(recall="high")
    with pytest.raises(ValueError, match="kind must be one of"):
        writable.build_index(kind="annoy")
