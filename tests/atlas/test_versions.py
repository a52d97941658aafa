"""Removing, compacting, vacuuming, and reading earlier versions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import tiledbsoma

import scim
from helpers import fakes
from scim._core import FilterError, FormatError


@pytest.fixture
def grown(writable):
    """Four studies of 20 cells, an index, and counts of all."""
    for i, study in enumerate("abcd"):
        writable.append(
            fakes.cells(20, seed=i), study=study, label_key="cell_type", obs_columns=["n", "tissue"], counts=True
        )
        if study == "b":
            writable.build_index()
    return writable


def state(atlas):
    """The whole content of an atlas."""
    return {
        "obs": atlas.obs(),
        "embeddings": atlas.embeddings(),
        "ids": atlas.ids,
        "codes": atlas.labels.codes[atlas.ids],
        "lung": atlas.select("tissue == 'lung'"),
        "counts": stored_counts(atlas),
        "nearest": atlas.index.query(atlas.embeddings(), 5).ids,
    }


def stored_counts(atlas):
    with scim.atlas.open(atlas.uri, at=atlas.version) as reader:
        X = reader.snapshot.experiment.ms["RNA"].X["counts"].read().coos((reader.ids[-1] + 1, 111)).concat().to_scipy()
    return X.toarray()


def assert_same(one, other):
    pd.testing.assert_frame_equal(one.pop("obs"), other.pop("obs"))
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def test_removed_cells_are_not_read(grown):
    before, nearest = grown.obs(), grown.embeddings([25])
    assert grown.remove("study == 'b' or study == 'c' and n < 5") == 25
    left = before[(before["study"] != "b") & ~((before["study"] == "c") & (before["n"] < 5))]
    pd.testing.assert_frame_equal(grown.obs(), left)
    assert grown.n_obs == 55 == grown.index.n_rows
    assert grown.ids.tolist() == left.index.tolist()
    assert set(grown.index.query(nearest, 80).ids.ravel()) - {-1} == set(left.index)
    assert grown.select("n == 3").tolist() == [3, 63]
    assert "b" not in grown.info()["studies"]
    assert grown.select("study == 'b'").size == 0
    with pytest.raises(KeyError, match=r"1 of the cells were removed from the atlas: \[25\]"):
        grown.obs([3, 25])
    assert (grown.labels.codes[20:40] == -1).all()
    with tiledbsoma.open(str(grown.path / "soma")) as experiment:
        assert experiment.obs.count == 55
        cells = experiment.ms["RNA"].X["counts"].read().tables().concat()["soma_dim_0"].to_numpy()
    assert not np.isin(cells, np.arange(20, 45)).any()
    assert scim.atlas.verify(grown.path) == []


def test_queries_never_return_removed_cells(grown):
    query = fakes.cells(30, seed=1)
    scim.tl.embed(query, grown)
    grown.remove("study == 'b'")
    scim.tl.search(query, grown, k=60)
    assert np.isin(query.obsm["scim_search_ids"], grown.ids).all()
    scim.tl.annotate(query, grown)
    assert scim.get.hits(query, atlas=grown, only_similar=False)["study"].isin(["a", "c", "d"]).all()


def test_the_store_returns_no_removed_cells(writable):
    writable.append(fakes.cells(20, seed=4), study="a", obs_columns=["n"])
    writable.remove("n >= 5 and n < 15")
    assert writable.ids.tolist() == [*range(5), *range(15, 20)]
    assert writable.obs()["n"].tolist() == writable.ids.tolist()
    assert writable.select("n > 3").tolist() == [4, *range(15, 20)]
    writable.build_index()
    assert writable.index.ids.tolist() == writable.ids.tolist()
    assert writable.select("n > 3").tolist() == [4, *range(15, 20)]


def test_ids_are_not_reused(grown):
    grown.remove("study == 'd'")
    assert grown.append(fakes.cells(20, seed=3), study="d", label_key="cell_type") == 20
    assert grown.ids.tolist() == [*range(60), *range(80, 100)]
    assert scim.atlas.verify(grown.path) == []


def test_removing_nothing_is_no_commit(grown):
    before = grown.version
    assert grown.remove("n > 1000") == 0
    assert grown.version == before
    with pytest.raises(FilterError):
        grown.remove("study == 'nowhere'")


def test_all_cells_can_be_removed(grown):
    grown.remove("n >= 0")
    assert grown.n_obs == 0
    assert grown.obs().empty
    with pytest.raises(ValueError, match="nothing to compact"):
        grown.compact()
    assert grown.append(fakes.cells(9, seed=3), study="z") == 9
    assert scim.atlas.verify(grown.path) == []


def test_compaction_changes_no_result_and_leaves_few_files(grown):
    grown.remove("study == 'a' and n < 3")
    before, measured = state(grown), (grown.label_radius, grown.label_transfer().calibration)
    grown.compact()
    assert_same(before, state(grown))
    assert (grown.label_radius, grown.label_transfer().calibration) == measured
    assert grown.index.n_appended == 0
    assert scim.atlas.verify(grown.path) == []
    freed = grown.vacuum()
    assert freed > 0
    assert_same(state(grown), before | {"obs": grown.obs()})
    assert len(list((grown.path / "soma" / "obs" / "__fragments").iterdir())) == 1
    assert scim.atlas.verify(grown.path) == []
    assert grown.append(fakes.cells(20, seed=9), study="e", counts=True) == 20
    assert scim.atlas.verify(grown.path) == []
    with pytest.raises(ValueError, match="20 cells of study"):
        grown.append(fakes.cells(20, seed=9), study="e")


def test_after_compaction_and_vacuum_removed_cells_are_off_the_disk(writable):
    secret = fakes.cells(20, seed=4)
    secret.obs_names = [f"secretcell{i}" for i in range(20)]
    writable.append(secret, study="withdrawn", counts=True)
    writable.append(fakes.cells(20, seed=5), study="kept", counts=True)
    embedding = writable.embeddings([3]).tobytes()
    files = [file.read_bytes() for file in writable.path.rglob("*") if file.is_file()]
    assert any(embedding in content for content in files)
    writable.remove("study == 'withdrawn'")
    writable.compact()
    writable.vacuum()
    files = [file.read_bytes() for file in writable.path.rglob("*") if file.is_file()]
    assert not any(embedding in content or b"withdrawn" in content for content in files)


def test_earlier_versions_are_read_unchanged(grown):
    texts = {info["version"]: info for info in grown.info()["versions"]}
    assert [texts[number]["cells"] for number in sorted(texts)] == [0, 20, 40, 40, 60, 80]
    now = state(grown)
    version = grown.version
    grown.remove("study == 'a'")
    grown.compact()
    with scim.atlas.open(grown.path, at=version) as old:
        assert_same(state(old), now)
        assert old.version == version
        assert old.refresh()
        assert old.version == grown.version
        assert old.n_obs == 60
    with scim.atlas.open(grown.path, at=3) as old:
        assert old.obs()["study"].unique().tolist() == ["a", "b"]
        with pytest.raises(ValueError, match="has no index"):
            _ = old.index


def test_versions_are_found_by_time(grown):
    made = {info["version"]: datetime.fromisoformat(info["made"]) for info in grown.info()["versions"]}
    for at in (made[3], made[3] + timedelta(milliseconds=1), made[3].astimezone(), str(made[3]), made[3].isoformat()):
        with scim.atlas.open(grown.path, at=at) as old:
            assert old.version == 3
    with scim.atlas.open(grown.path, at=datetime.now(UTC)) as old:
        assert old.version == grown.version
    with pytest.raises(ValueError, match="no version as old as 2001-01-01"):
        scim.atlas.open(grown.path, at="2001-01-01")
    with pytest.raises(ValueError, match=r"has no version 99\. Present: \[1, 2, 3, 4, 5, 6\]"):
        scim.atlas.open(grown.path, at=99)
    with pytest.raises(TypeError, match="at must be a version number, a time as text or a datetime, got float"):
        scim.atlas.open(grown.path, at=0.5)
    with pytest.raises(ValueError, match="at='soon' is not a time"):
        scim.atlas.open(grown.path, at="soon")
    with pytest.raises(ValueError, match="can only be read; leave mode='w' out"):
        scim.atlas.open(grown.path, "w", at=3)


def test_vacuum_removes_earlier_versions(grown):
    with scim.atlas.open(grown.path, at=3) as old, scim.atlas.open(grown.path) as reader:
        grown.compact()
        grown.vacuum()
        with pytest.raises(FormatError, match="vacuumed"):
            old.embeddings()
        with pytest.raises(FormatError, match="vacuumed"):
            reader.obs(columns=["cell_id"])
        assert reader.refresh()
        assert len(reader.obs()) == 80
    with pytest.raises(ValueError, match=rf"has no version 3\. Present: \[{grown.version}\]"):
        scim.atlas.open(grown.path, at=3)


def test_a_clock_behind_the_last_change(writable, monkeypatch):
    import time

    writable.append(fakes.cells(9, seed=1), study="a")
    behind = time.time_ns() - 3_600_000_000_000
    monkeypatch.setattr("scim.atlas.commit._transaction._clock", lambda: behind // 1_000_000)
    writable.append(fakes.cells(9, seed=2), study="b")
    assert writable.obs()["study"].tolist() == ["a"] * 9 + ["b"] * 9
    with pytest.raises(ValueError, match=r"clock is 3\d\d\d s behind the last change of the atlas"):
        writable.append(fakes.cells(9, seed=3), study="c", obs_columns=["n"])
    assert scim.atlas.verify(writable.path) == []


@pytest.mark.parametrize("method", ["remove", "compact", "vacuum", "publish", "reembed"])
def test_reading_mode_changes_nothing(atlas, method):
    arguments = {"remove": ["n > 3"], "reembed": [fakes.tiny_model()]}.get(method, [])
    with pytest.raises(PermissionError, match=rf"{method} needs the atlas open for writing"):
        getattr(atlas, method)(*arguments)


def test_files_of_the_desktop_are_ignored(grown):
    (grown.path / "soma" / "obs" / ".DS_Store").write_bytes(b"Finder")
    (grown.path / ".DS_Store").write_bytes(b"Finder")
    with scim.atlas.open(grown.path) as reader:
        assert len(reader.obs()) == 80
    grown.append(fakes.cells(9, seed=8), study="e")
    assert scim.atlas.verify(grown.path) == []


def test_an_index_is_built_again_with_its_parameters(grown):
    grown.build_index(kind="ivf", recall=0.8)
    grown.append(fakes.cells(20, seed=8), study="e", label_key="cell_type", counts=True)
    grown.compact()
    assert (grown.index.kind, grown.index.params["recall"], grown.index.n_appended) == ("ivf", 0.8, 0)
    grown.reembed(fakes.tiny_model(seed=3))
    assert (grown.index.kind, grown.index.params["recall"]) == ("ivf", 0.8)


def test_removed_cells_can_be_appended_again_once(grown):
    cells = fakes.cells(20, seed=3)
    for _ in range(2):
        grown.remove("study == 'd'")
        assert grown.append(cells, study="d", counts=True) == 20
        with pytest.raises(ValueError, match="20 cells of study"):
            grown.append(cells, study="d")
        assert grown.append(cells, study="d", on_duplicate="skip") == 0
    assert scim.atlas.verify(grown.path) == []
