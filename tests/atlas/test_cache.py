from __future__ import annotations

import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

import scim
from scim._core import FormatError, StorageError
from scim.atlas.storage import Storage, cached

UID = "0123456789abcdef0123456789abcdef-0"


def fine(folder):
    assert (folder / "a.npy").exists()


@pytest.fixture
def storage(s3, tmp_path, monkeypatch):
    monkeypatch.setattr(scim.settings.storage, "cache", str(tmp_path / "cache"))
    storage = Storage.of(s3.uri())
    for name in ("index/v000001", "index/v000002", "index/v000003"):
        storage.write(f"{name}/a.npy", name.encode())
        storage.write(f"{name}/c.npy", b"x" * 992)  # 1000 bytes in all
    return storage


def folders(tmp_path):
    return sorted(path.relative_to(tmp_path / "cache").as_posix() for path in (tmp_path / "cache").glob("*/*"))


def test_a_local_folder_is_not_copied(tmp_path):
    storage = Storage.of(tmp_path)
    assert (
        cached(storage, "index/v000001", "k", lambda folder: pytest.fail("not checked"))
        == tmp_path / "index" / "v000001"
    )


def test_a_remote_folder_is_downloaded_once(storage, tmp_path, monkeypatch):
    checked = []
    folder = cached(storage, "index/v000001", UID, checked.append)
    assert folder == tmp_path / "cache" / UID / "index+v000001"
    assert (folder / "a.npy").read_bytes() == b"index/v000001"
    assert (folder / "c.npy").read_bytes() == b"x" * 992
    assert len(checked) == 1
    monkeypatch.setattr(Storage, "download", lambda *_: pytest.fail("again"))
    assert cached(storage, "index/v000001", UID, checked.append) == folder
    assert len(checked) == 1
    assert folders(tmp_path) == [f"{UID}/index+v000001"]


def test_a_damaged_copy_is_removed(storage, tmp_path):
    def damaged(folder):
        fine(folder)
        msg = "a.npy is not what it was."
        raise ValueError(msg)

    with pytest.raises(
        FormatError, match=r"index/v000001' is damaged, as it was downloaded: a\.npy is not what it was\."
    ):
        cached(storage, "index/v000001", UID, damaged)
    assert folders(tmp_path) == []
    fine(cached(storage, "index/v000001", UID, fine))


def test_a_missing_folder_raises(storage, tmp_path):
    with pytest.raises(FileNotFoundError, match="index/v000009' has no files"):
        cached(storage, "index/v000009", UID, fine)
    assert folders(tmp_path) == []


@pytest.mark.parametrize("key", ["", "a/b", ".hidden", "..", f"{UID}/../x", "cells"])
def test_a_key_names_a_folder(storage, key):
    with pytest.raises(FormatError, match="Expected a key that can name a folder"):
        cached(storage, "index/v000001", key, fine)


def test_the_least_recently_used_copy_is_removed_first(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(scim.settings.storage, "cache_bytes", 2500)
    for n, name in enumerate(("index/v000001", "index/v000002")):
        long_ago = time.time() - 1000 + n
        os.utime(cached(storage, name, UID, fine), (long_ago, long_ago))
    cached(storage, "index/v000001", UID, fine)  # used again
    cached(storage, "index/v000003", UID, fine)
    assert folders(tmp_path) == [f"{UID}/index+v000001", f"{UID}/index+v000003"]


def test_a_folder_larger_than_the_cache_raises(storage, tmp_path, monkeypatch):
    cached(storage, "index/v000001", UID, fine)
    monkeypatch.setattr(scim.settings.storage, "cache_bytes", 999)
    with pytest.raises(StorageError, match="more than the whole cache may hold .*cache_bytes or SCIM_CACHE_BYTES"):
        cached(storage, "index/v000002", UID, fine)
    assert folders(tmp_path) == [f"{UID}/index+v000001"]


def test_a_full_disk_raises(storage, tmp_path, monkeypatch):
    cached(storage, "index/v000001", UID, fine)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=-500))
    with pytest.raises(StorageError, match="has room for .* Free some, or name another folder"):
        cached(storage, "index/v000002", UID, fine)
    assert folders(tmp_path) == [f"{UID}/index+v000001"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=500))
    cached(storage, "index/v000002", UID, fine)
    assert folders(tmp_path) == [f"{UID}/index+v000002"]


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(storage, tmp_path, monkeypatch):
    def full(self, name, to):
        (to / "half").write_bytes(b"")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Storage, "download", full)
    with pytest.raises(StorageError, match="No space left on device.*Make room"):
        cached(storage, "index/v000001", UID, fine)
    assert folders(tmp_path) == []


def test_a_server_that_stops_leaves_nothing(s3_server, tmp_path, monkeypatch):
    storage = Storage.of(s3_server.uri())
    storage.write("index/v000001/a.npy", b"x")
    download = Storage.download

    def stopped(self, name, to):
        s3_server.stop()
        download(self, name, to)

    monkeypatch.setattr(Storage, "download", stopped)
    with pytest.raises(StorageError, match="Could not list"):
        cached(storage, "index/v000001", UID, fine)
    assert folders(tmp_path) == []


def test_simultaneous_downloads_succeed(storage, tmp_path):
    # Threads behave like processes here: they share the folder only.
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cached(storage, "index/v000001", UID, fine), range(8)))
    assert set(found) == {tmp_path / "cache" / UID / "index+v000001"}
    assert folders(tmp_path) == [f"{UID}/index+v000001"]


def test_the_faster_of_two_downloads_is_kept(storage, tmp_path):
    def meanwhile(folder):
        shutil.copytree(folder, tmp_path / "cache" / UID / "index+v000001")

    folder = cached(storage, "index/v000001", UID, meanwhile)
    assert (folder / "a.npy").read_bytes() == b"index/v000001"
    assert folders(tmp_path) == [f"{UID}/index+v000001"]


def test_remains_of_killed_downloads_are_removed(storage, tmp_path):
    cached(storage, "index/v000001", UID, fine)
    old, recent = (tmp_path / "cache" / UID / f".index+v000002.{n}.tmp" for n in ("00000001", "00000002"))
    for folder in (old, recent):
        folder.mkdir()
        (folder / "a.npy").write_bytes(b"half")
    for path in (old / "a.npy", old):
        os.utime(path, (0, 0))
    cached(storage, "index/v000003", UID, fine)
    assert folders(tmp_path) == [f"{UID}/.index+v000002.00000002.tmp", f"{UID}/index+v000001", f"{UID}/index+v000003"]


def test_the_cache_is_the_users_by_default(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(scim.settings.storage, "cache", None)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "user" / name))
    assert cached(storage, "index/v000001", UID, fine) == Path(tmp_path / "user" / "scim" / UID / "index+v000001")


def test_without_platformdirs_the_error_names_the_extra(storage, monkeypatch):
    monkeypatch.setattr(scim.settings.storage, "cache", None)
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with pytest.raises(ImportError, match=r'pip install "scim-atlas\[s3\]".*SCIM_CACHE'):
        cached(storage, "index/v000001", UID, fine)
