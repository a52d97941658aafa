"""Errors of the operating system: one line names the problem and the path, and the atlas is unchanged."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys

import pytest

import scim
from helpers import changes, crashes, fakes
from helpers.state import differences, state_of
from scim._core import StorageError
from scim.atlas.commit import commit_file, read_manifest
from scim.atlas.storage import Storage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="disks are filled and rights given up as on Linux")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "scim", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def locked_folder(inputs, tmp_path):
    """A read-only atlas."""
    path = changes.copy_atlas(inputs / "base.scim", tmp_path)
    with _modes(path, file=0o444, folder=0o555):
        yield path


@contextlib.contextmanager
def _modes(path, *, file, folder):
    every = [path, *path.rglob("*")]
    for one in every:
        one.chmod(folder if one.is_dir() else file)
    yield
    for one in every:
        one.chmod(0o755 if one.is_dir() else 0o644)


def _change(path, change, inputs):
    with changes.small_blocks(), scim.atlas.open(path, "w") as atlas:
        changes.CHANGES[change](atlas, inputs)


def _check_refused(error, path, *words):
    assert "StorageError" in error["type"]
    for word in (str(path), *words):
        assert word in error["text"], error["text"]
    assert "\n" not in error["text"]


@pytest.mark.slow
@pytest.mark.parametrize("change", ["append_files", "build_index", "compact", "reembed"])
def test_a_full_disk_leaves_the_atlas_unchanged(small_disk, inputs, change):
    path = changes.copy_atlas(inputs / "base.scim", small_disk)
    before, ballast = state_of(path), small_disk / "ballast"
    for left in (0, 16, 64):
        ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - 1024 * left))
        with pytest.raises(
            StorageError, match=r"failed in '.*base\.scim': .*[Nn]o space left.* as it was\.$"
        ) as caught:
            _change(path, change, inputs)
        assert "\n" not in str(caught.value)
        assert differences(state_of(path), before) == []
        ballast.unlink()
        assert scim.atlas.verify(path) == []
        crashes.check_clean(path)
    _change(path, change, inputs)
    assert differences(state_of(path), before) != [] or change in ("build_index", "compact")
    assert scim.atlas.verify(path) == []


def test_an_atlas_is_created_completely_or_not_at_all(small_disk):
    path, ballast = small_disk / "new.scim", small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - 20_000))
    with pytest.raises(
        StorageError, match=r"new\.scim': No space left.*: 1\.1 MB are needed, 0\.0 MB are free\. .*none was made\.$"
    ):
        scim.atlas.create(path, model=fakes.tiny_model())
    assert [file.name for file in small_disk.iterdir()] == ["ballast"]
    ballast.unlink()
    scim.atlas.create(path, model=fakes.tiny_model()).close()


def test_what_a_killed_creation_left_is_swept_when_it_is_old(tmp_path):
    old, recent, others = (tmp_path / f".new.scim.0a1b2c3{n}.tmp" for n in "123")
    for folder in (old, recent, others):
        (folder / "soma" / "__group").mkdir(parents=True)
        (folder / "atlas.json").write_bytes(b"{}")
    (others / "notes.txt").write_bytes(b"mine")
    (tmp_path / ".new.scim.0a1b2c34.tmp").symlink_to(recent)
    for path in (old / "atlas.json", others / "atlas.json", others / "notes.txt", old, others):
        os.utime(path, (0, 0))
    scim.atlas.create(tmp_path / "new.scim", model=fakes.tiny_model()).close()
    assert sorted(path.name[-5] for path in tmp_path.glob(".new*")) == ["2", "3", "4"]
    assert (others / "notes.txt").is_file()


def test_a_file_size_limit(workers, inputs, tmp_path):
    path = changes.copy_atlas(inputs / "base.scim", tmp_path)
    before = state_of(path)
    for limit in (500, 4000):
        result = workers.run(change="append_memory", uri=str(path), inputs=str(inputs), limit=limit)
        _check_refused(result["error"], path, "append of 40 cells", "File too large")
        assert differences(state_of(path), before) == []
    assert scim.atlas.verify(path) == []


def test_a_read_only_folder_is_read(workers, locked_folder, tmp_path):
    note = tmp_path / "note"
    job = {"uri": str(locked_folder), "powerless": True}
    [read] = workers.all(
        [job | {"read": {"seconds": 0.01, "notes": str(note), "keep": False}, "result": str(tmp_path / "r")}]
    )
    assert read["error"] is None
    assert len(note.read_text().split()) == 2


@pytest.mark.parametrize("change", ["append_plain", "remove"])
def test_a_read_only_folder_is_not_changed(workers, inputs, locked_folder, change):
    before = state_of(locked_folder)
    result = workers.run(change=change, uri=str(locked_folder), inputs=str(inputs), powerless=True)
    _check_refused(result["error"], locked_folder, "Permission denied", "Check that you may write there")
    assert differences(state_of(locked_folder), before) == []


def test_read_only_parts(workers, inputs, tmp_path):
    path = changes.copy_atlas(inputs / "base.scim", tmp_path)
    before = state_of(path)
    for part in ("soma/obs/__fragments", "soma/ms/RNA/obsm/X_scim/__schema", "commits"):
        with _modes(path / part, file=0o444, folder=0o555):
            result = workers.run(change="append_plain", uri=str(path), inputs=str(inputs), powerless=True)
            _check_refused(result["error"], path, "append of 40 cells", part, "Permission denied")
        assert differences(state_of(path), before) == []
    _change(path, "append_plain", inputs)
    assert scim.atlas.verify(path) == []
    crashes.check_clean(path)


def test_an_unreadable_file_is_named(workers, inputs, tmp_path):
    path = changes.copy_atlas(inputs / "base.scim", tmp_path)
    for pattern in ("soma/obs/__fragments/*/a0_var.tdb", "soma/obs/__schema/__1*", "names/*.npy"):
        file = max(path.glob(pattern))
        with _modes(file, file=0o000, folder=0o000):
            result = workers.run(change="append_memory", uri=str(path), inputs=str(inputs), powerless=True)
        assert {"OSError", "StorageError"} & set(result["error"]["type"]), result
        assert str(file) in result["error"]["text"], result
        assert "ermission denied" in result["error"]["text"], result
        assert "\n" not in result["error"]["text"]
    assert scim.atlas.verify(path) == []
    _change(path, "append_memory", inputs)


def test_an_error_after_the_commit_keeps_the_commit(inputs, tmp_path, monkeypatch):
    path = changes.copy_atlas(inputs / "base.scim", tmp_path)
    before = state_of(path)

    number = read_manifest(Storage.of(path)).number + 1

    def lost(folder):
        if folder == path and (path / commit_file(number)).exists():
            raise OSError(errno.EIO, "Input/output error", str(folder))

    monkeypatch.setattr("scim.atlas.storage._local.flush", lost)
    with scim.atlas.open(path, "w") as atlas, pytest.raises(StorageError, match="Input/output error"):
        atlas.remove("study == 'one'")
    monkeypatch.undo()
    assert scim.atlas.verify(path, repair=True) == []
    assert "ids" in differences(state_of(path), before)
