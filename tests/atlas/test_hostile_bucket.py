"""A server of S3 that answers as it likes: no name of it leads out of a folder, and no response is without an end."""

from __future__ import annotations

import itertools
import time

import pytest

import scim
from helpers import hostile_s3
from helpers.links import fingerprint
from scim._core import FormatError, StorageError
from scim.atlas.storage import Lock, Storage, cached

UID = "0123456789abcdef0123456789abcdef-0"
PART = "a/index/v000003"


@pytest.fixture(scope="module")
def server():
    with hostile_s3.serving() as bucket:
        yield bucket


@pytest.fixture
def bucket(server, tmp_path, monkeypatch):
    server.files, server.listed, server.stated = {f"{PART}/ids.npy": b"1", f"{PART}/index.json": b"{}"}, {}, {}
    server.endless, server.status = False, 0
    names = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "secret-of-mine", "AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "home" / "cache").mkdir(parents=True)
    (tmp_path / "home" / ".bashrc").write_bytes(b"mine")
    for name, setting in {
        "endpoint": server.endpoint,
        "region": "us-east-1",
        "cache": str(tmp_path / "home/cache"),
    }.items():
        monkeypatch.setattr(scim.settings.storage, name, setting)
    return server


def copied():
    return cached(Storage.of("s3://b/a"), "index/v000003", UID, lambda folder: None)


def test_a_sound_bucket_is_copied(bucket):
    assert sorted(path.name for path in copied().iterdir()) == ["ids.npy", "index.json"]


@pytest.mark.parametrize(
    "name",
    [
        "../../../../.bashrc",
        "../../../../../home/.bashrc",
        "x/../../.bashrc",
        "./ids.npy",
        "/etc/absolute.npy",
        "//x.npy",
        "x//y.npy",
        "a\\b.npy",
        "..\\..\\b.npy",
        "C:x.npy",
        "new\nline.npy",
        "\x7f.npy",
        "l" * 256 + ".npy",
        ".bashrc",
        ".ssh/authorized_keys",
        "run.py",
        "ids.npy.exe",
        "ids.npy/x.npy",
        "sub/ids.npy",
        "IDS.npy",
        "ids.npy ",
        "$(x).npy",
        "\u202eids.npy",
    ],
)
def test_a_name_that_scim_does_not_give_is_refused(bucket, tmp_path, name):
    bucket.files[f"{PART}/{name}"] = b"evil"
    before = fingerprint(tmp_path)
    with pytest.raises(
        FormatError, match="is no name of a file of an atlas: delete it|not the name of a file of an|upper and lower"
    ):
        copied()
    after = fingerprint(tmp_path)
    assert {path for path in after if after[path] != before.get(path)} <= {
        str(tmp_path / "home/cache"),
        str(tmp_path / "home/cache" / UID),
    }


def test_keys_outside_the_atlas_are_refused(bucket, monkeypatch):
    bucket.files["other/evil.npy"] = b"evil"
    monkeypatch.setattr(bucket, "page", lambda _: hostile_s3.Bucket.page(bucket, ""))
    with pytest.raises(
        FormatError, match="lists 'b/other/evil.npy' in 's3://b/a', which is no name of a file of an atlas"
    ):
        copied()


@pytest.mark.parametrize(
    ("listed", "stated", "words"),
    [
        (10**15, None, "more than the whole cache may hold"),
        (5, None, "ended after 1 of 5 bytes"),
        (0, None, "has more than 0 bytes"),
        (-1, None, "has more than 0 bytes"),
        (-5, None, "has more than 0 bytes"),
        (1, 10**15, "Could not read"),
    ],
)
def test_a_size_that_is_not_true_is_an_error(bucket, monkeypatch, listed, stated, words):
    monkeypatch.setattr("scim.atlas.storage._s3.TRIES", 1)
    bucket.listed[f"{PART}/ids.npy"] = listed
    if stated is not None:
        bucket.stated[f"{PART}/ids.npy"] = stated
    with pytest.raises((StorageError, FormatError), match=words):
        copied()


def test_a_manifest_of_gigabytes_is_refused(bucket, monkeypatch):
    monkeypatch.setattr("scim.atlas.storage._storage.MOST_JSON", 1000)
    bucket.files["a/atlas.json"] = b" " * 1001
    with pytest.raises(FormatError, match=r"'s3://b/a/atlas\.json' has more than 1000 bytes"):
        scim.atlas.open("s3://b/a")


def test_a_list_without_an_end_is_an_error(bucket, monkeypatch):
    closed = []
    monkeypatch.setattr("scim.atlas.storage._s3.RESPONSE_SECONDS", 0.3)
    monkeypatch.setattr("scim.atlas.storage._s3.finalize_s3", lambda: closed.append(True))
    bucket.endless = True
    begun = time.monotonic()
    with pytest.raises(StorageError, match=r"Could not list .* the server sent for 0\.3 s without an end"):
        copied()
    assert time.monotonic() - begun < 30
    bucket.endless = False  # ends the list, which goes on where S3 was not closed
    assert closed


def test_rejected_credentials_are_named_without_them(bucket):
    bucket.status = 403
    storage = Storage.of("s3://b/a")
    calls = [
        lambda: storage.read("atlas.json"),
        storage.files,
        lambda: scim.atlas.open("s3://b/a"),
        Lock(storage, "x").__enter__,
    ]
    for call in calls:
        with pytest.raises(StorageError, match="server rejects the credentials, or they do not allow it") as caught:
            call()
        assert "secret-of-mine" not in str(caught.value)


def test_entries_of_the_cache_that_are_links_are_refused_or_kept(bucket, tmp_path, monkeypatch):
    cache, outside = tmp_path / "home/cache", tmp_path / "outside"
    outside.mkdir()
    (outside / "ids.npy").write_bytes(b"x" * 100)
    others = [cache / "project" / "model", cache / f"{1:032}-0" / "model"]
    for folder in others:
        folder.mkdir(parents=True)
        (folder / "thesis.docx").write_bytes(b"y" * 1000)
    (cache / UID).mkdir()
    for name in ("index+v000001", ".index+v000002.0a1b2c3d.tmp"):
        (cache / UID / name).symlink_to(outside)
    (cache / f"{2:032}-0").symlink_to(tmp_path)
    monkeypatch.setattr(scim.settings.storage, "cache_bytes", 10)
    before = {path: fingerprint(path) for path in (outside, *others)}
    copied()
    assert {path: fingerprint(path) for path in before} == before
    (cache / UID / "index+v000003").rename(tmp_path / "moved")
    (cache / UID / "index+v000003").symlink_to(outside)
    with pytest.raises(FormatError, match=r"index\+v000003' is a link"):
        copied()


def test_the_cache_itself_may_be_a_link(bucket, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "home/cache")
    monkeypatch.setattr(scim.settings.storage, "cache", str(tmp_path / "link"))
    assert (copied() / "ids.npy").read_bytes() == b"1"


def test_names_that_differ_in_case_alone_are_refused(bucket):
    for a, b in itertools.permutations(("Ids.npy", "ids.npy")):
        bucket.files = {f"{PART}/{a}": b"1", f"{PART}/{b}": b"2"}
        with pytest.raises(FormatError, match="differ in upper and lower case alone"):
            copied()
