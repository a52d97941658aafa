from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import scim
from scim.io import new_folder, read_json, release_pages, write_json

N = 1 << 22


def test_a_folder_is_visible_when_it_is_complete(tmp_path):
    with new_folder(tmp_path / "a", marker="m") as folder:
        (folder / "m").touch()
        assert not (tmp_path / "a").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("exists", [True, False])
def test_an_error_leaves_the_old_folder(tmp_path, exists):
    if exists:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "m").write_text("old")

    def stop_half_way():
        with new_folder(tmp_path / "a", marker="m", overwrite=True) as folder:
            (folder / "m").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    assert [p.name for p in tmp_path.iterdir()] == ["a"] * exists
    assert not exists or (tmp_path / "a" / "m").read_text() == "old"


def test_overwrite_replaces_its_own_kind_and_empty_folders(tmp_path):
    for before in ("old", None):
        (tmp_path / "a").mkdir(exist_ok=True)
        for file in (tmp_path / "a").iterdir():
            file.unlink()
        if before:
            (tmp_path / "a" / "m").write_text(before)
        with new_folder(tmp_path / "a", marker="m", overwrite=True) as folder:
            (folder / "m").write_text("new")
        assert (tmp_path / "a" / "m").read_text() == "new"


def test_other_folders_are_not_overwritten(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis").touch()
    for name in ("file", "folder"):
        with (
            pytest.raises(FileExistsError, match="is not replaced: it has no 'm'"),
            new_folder(tmp_path / name, marker="m", overwrite=True),
        ):
            pass
        with pytest.raises(FileExistsError, match="pass overwrite=True"), new_folder(tmp_path / name, marker="m"):
            pass
    assert (tmp_path / "file").read_text() == "x"
    assert (tmp_path / "folder" / "thesis").exists()


def test_json_is_replaced_in_one_step(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": object()})
    assert read_json(tmp_path / "a.json", kind="thing") == {"x": 1}


@pytest.fixture
def file(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(N))
    return tmp_path / "x.npy"


def resident(file):
    """Return how many bytes of a file are mapped into this process."""
    lines, size = Path("/proc/self/smaps").read_text().splitlines(), 0
    for i, line in enumerate(lines):
        if line.endswith(str(file)):
            size += 1024 * int(next(other for other in lines[i:] if other.startswith("Rss:")).split()[1])
    return size


@pytest.mark.skipif(sys.platform != "linux", reason="what is resident is told by Linux alone")
@pytest.mark.parametrize("mode", ["r", "r+"])
def test_pages_that_were_read_are_no_longer_resident(file, mode):
    X = np.load(file, mmap_mode=mode)
    assert X.sum() == N * (N - 1) // 2
    assert resident(file) >= X.nbytes
    release_pages(X[5:].view(np.uint64))
    assert resident(file) == 0
    assert X.sum() == N * (N - 1) // 2


def test_written_pages_keep_their_values(file):
    X = np.load(file, mmap_mode="r+")
    X[::1000] = -1
    release_pages(X)
    assert (X[::1000] == -1).all()
    del X
    assert (np.load(file)[::1000] == -1).all()


def test_values_written_into_a_copy_stay_unless_declared_unwritten(file):
    X = np.load(file, mmap_mode="c")
    X[7] = -1
    release_pages(X)
    assert X[7] == -1
    release_pages(X, unwritten=True)
    assert X[7] == 7


def test_an_array_in_memory_is_unchanged():
    X = np.arange(10)
    release_pages(X)
    assert X.sum() == 45


def test_an_index_returns_the_same_hits(tmp_path):
    X = np.random.default_rng(0).normal(size=(3000, 16))
    index = scim.index.build(X, kind="ivf", path=tmp_path / "index")
    before = index.query(X[:50], 10)
    index.release_pages()
    after = index.query(X[:50], 10)
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.distances, after.distances)
