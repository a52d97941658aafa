"""Atlases that functions open by path stay open and are never outdated."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import scim
from helpers import fakes
from scim.atlas import _open
from scim.atlas._open import forget_opened, opened, opened_again, origin


@pytest.fixture(autouse=True)
def nothing_open():
    forget_opened()
    yield
    forget_opened()


@pytest.fixture
def made(monkeypatch):
    """The commits that were opened."""
    numbers = []

    class Recorded(_open.Snapshot):
        def __init__(self, storage, manifest, *, draft=False):
            numbers.append(manifest.number)
            super().__init__(storage, manifest, draft=draft)

    monkeypatch.setattr(_open, "Snapshot", Recorded)
    return numbers


@pytest.fixture
def path(writable):
    writable.append(fakes.cells(40, seed=1), study="a", label_key="cell_type", obs_columns=["n"])
    writable.build_index()
    return writable.path


def version(path):
    with opened(path) as atlas:
        assert len(atlas.obs(columns=["study"])) == atlas.n_obs == len(atlas.ids)
        return atlas.version


def test_a_session_opens_an_atlas_once(path, writable, made):
    cells = fakes.cells(20, seed=5)
    scim.tl.embed(cells, writable)
    scim.tl.annotate(cells, path, max_error=1)
    scim.tl.search(cells, path, k=3)
    scim.get.hits(cells)
    scim.get.hits(cells, ["label"], atlas=str(path))
    assert made == [3]


def test_commits_of_the_same_process_are_read(path, writable, made):
    assert [version(path), version(path)] == [3, 3]
    writable.append(fakes.cells(9, seed=2), study="b")
    assert version(path) == 4
    writable.remove("study == 'b'")
    assert version(path) == 5
    assert made == [3, 4, 5]


def test_commits_of_another_process_are_read(path):
    assert version(path) == 3
    code = f"import scim; a = scim.atlas.open({str(path)!r}, 'w'); print(a.remove('n < 5'))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert version(path) == 4
    with opened(path) as atlas:
        assert atlas.n_obs == 35


def test_after_vacuum_the_files_of_the_new_version_are_read(path, writable):
    with opened(path) as before:
        assert before.n_obs == 40
        writable.remove("n < 5")
        writable.compact()
        writable.vacuum()
        with opened(path) as after:
            assert len(after.obs()) == len(after.embeddings()) == after.index.n_rows == 35
        assert before.n_obs == 40  # the open atlas stays at its commit


def test_another_atlas_in_its_place_is_read(path, writable, tmp_path, made):
    assert version(path) == 3
    with scim.atlas.create(tmp_path / "other.scim", model=fakes.tiny_model()) as other:
        other.append(fakes.cells(7, seed=9), study="z")
        other.append(fakes.cells(8, seed=10), study="y")
    shutil.rmtree(path)
    shutil.copytree(tmp_path / "other.scim", path)
    with opened(path) as atlas:
        assert (atlas.uid, atlas.n_obs, len(atlas.obs())) == (other.uid, 15, 15)


def test_a_deleted_atlas_raises_the_usual_error(path, made):
    assert version(path) == 3
    (path / "atlas.json").rename(path / "aside")
    with pytest.raises(FileNotFoundError, match="is not a scim atlas"), opened(path):
        pass
    (path / "aside").rename(path / "atlas.json")
    assert version(path) == 3
    assert made == [3, 3]
    shutil.rmtree(path)
    with pytest.raises(FileNotFoundError, match="there is no such folder"), opened(path):
        pass


def test_an_open_atlas_stays_open_at_its_commit(path, writable):
    with scim.atlas.open(path) as mine:
        writable.append(fakes.cells(9, seed=2), study="b")
        with opened(mine) as same:
            assert same is mine
            assert same.version == 3
        assert len(mine.obs()) == 40  # not closed


def test_two_atlases_stay_open(tmp_path, made):
    paths = [tmp_path / f"{i}.scim" for i in range(3)]
    for place in paths:
        scim.atlas.create(place, model=fakes.tiny_model()).close()
    made.clear()
    for place in (paths[0], paths[1], paths[0], paths[2], paths[0], paths[1]):
        assert version(place) == 1
    assert len(made) == 4  # the least recently used one was closed
    assert len(_open._open) == 2


def test_threads_share_an_atlas_while_it_changes(path, writable):
    query = fakes.cells(20, seed=5)
    scim.tl.embed(query, writable)

    def use(_):
        cells = query.copy()
        scim.tl.search(cells, path, k=3)
        return scim.get.hits(cells, only_similar=False)["distance"].to_numpy(), cells.uns["scim_search"]["atlas"][
            "version"
        ]

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(use, None) for _ in range(6)]
        writable.append(fakes.cells(9, seed=7), study="b")
        futures += [pool.submit(use, None) for _ in range(6)]
        results = [future.result() for future in futures]
    for seen in (3, 4):
        same = [distances for distances, at in results if at == seen]
        assert all(np.array_equal(distances, same[0]) for distances in same)
    assert results[-1][1] == 4


def test_a_fork_does_not_use_what_its_parent_opened(path, made, monkeypatch):
    assert version(path) == 3
    monkeypatch.setattr(_open.os, "getpid", lambda: -1)
    assert version(path) == 3
    assert made == [3, 3]


def test_a_result_names_its_atlas(path, writable, tmp_path):
    record = origin(writable)
    assert record == {"path": str(path), "uid": writable.uid, "version": 3}
    with opened_again(record) as atlas:
        assert atlas.uid == writable.uid
    other = scim.atlas.create(tmp_path / "other.scim", model=fakes.tiny_model())
    with pytest.raises(ValueError, match="The search was made in atlas"), opened_again(record, other):
        pass
    with scim.atlas.open(scim.atlas.PACKAGED) as packaged:
        assert origin(packaged)["path"] == "packaged"


def test_a_remote_atlas_stays_open_and_is_never_out_of_date(s3, made):
    uri = s3.uri()
    with scim.atlas.create(uri, model=fakes.tiny_model()) as remote:
        remote.append(fakes.cells(20, seed=1), study="a")
        made.clear()
        assert [version(uri), version(uri)] == [2, 2]
        remote.append(fakes.cells(9, seed=2), study="b")
        assert version(uri) == 3
    assert made == [2, 3]


def test_an_atlas_is_closed_once_it_is_neither_kept_nor_in_use(path, writable):
    with opened(path) as atlas:
        assert len(atlas.embeddings()) == 40
        experiment = atlas.snapshot.experiment
        writable.remove("n < 5")
        assert version(path) == 4  # takes its place
        assert not experiment.closed
        assert len(atlas.embeddings()) == 40
    del atlas
    gc.collect()
    assert experiment.closed
    with opened(path) as atlas:
        experiment = atlas.snapshot.experiment
    del atlas
    assert not experiment.closed
    forget_opened()
    gc.collect()
    assert experiment.closed


def test_an_atlas_that_was_not_closed_closes_its_store(path):
    atlas = scim.atlas.open(path)
    experiment = atlas.snapshot.experiment
    del atlas
    gc.collect()
    assert experiment.closed
