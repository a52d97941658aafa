from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import scim
from scim._core import FormatError, StorageError, StorageSettings
from scim.atlas.storage import Storage

ONE_OPERATION = 60  # seconds allowed when the server hangs; measured: 17


@pytest.fixture(params=["local", "s3"])
def storage(request, tmp_path):
    if request.param == "local":
        return Storage.of(tmp_path / "a.scim")
    return Storage.of(request.getfixturevalue("s3").uri())


def test_a_file_is_written_read_replaced_and_deleted(storage):
    assert not storage.exists("commits/000001.json")
    storage.write("commits/000001.json", b"one")
    assert storage.exists("commits/000001.json")
    assert storage.exists("commits")
    assert storage.read("commits/000001.json") == b"one"
    storage.write("commits/000001.json", b"")
    assert storage.read("commits/000001.json") == b""
    storage.delete(["commits/000001.json", "commits/000002.json"])
    assert not storage.exists("commits/000001.json")
    with pytest.raises(FileNotFoundError, match=r"000001\.json"):
        storage.read("commits/000001.json")


def test_a_new_file_does_not_replace_another(storage):
    storage.write("journal.json", b"mine", new=True)
    with pytest.raises(FileExistsError, match="exists already"):
        storage.write("journal.json", b"yours", new=True)
    assert storage.read("journal.json") == b"mine"
    assert [file.name for file in storage.files()] == ["journal.json"]


def test_files_and_folders_are_listed(storage):
    assert storage.files() == []
    assert storage.folders() == []
    before = time.time()
    for name, size in {"atlas.json": 3, "index/v0002/a.npy": 5, "index/v0001/b/c.npy": 0, "indexes/d": 1}.items():
        storage.write(name, b"x" * size)
    found = storage.files()
    assert [(file.name, file.n_bytes) for file in found] == [
        ("atlas.json", 3),
        ("index/v0001/b/c.npy", 0),
        ("index/v0002/a.npy", 5),
        ("indexes/d", 1),
    ]
    assert all(before - 5 < file.modified < time.time() + 5 for file in found)
    assert [file.name for file in storage.files("index")] == ["index/v0001/b/c.npy", "index/v0002/a.npy"]
    assert storage.folders() == ["index", "indexes"]
    assert storage.folders("index") == ["v0001", "v0002"]
    assert storage.files("nothing") == []
    assert storage.folders("nothing") == []


def test_only_the_given_folder_is_deleted(storage):
    for name in ("index/v000001/a.npy", "index/v000001/index.json", "index/v0000010/a.npy"):
        storage.write(name, b"x")
    storage.delete_folder("index/v000001")
    storage.delete_folder("index/v000001")
    assert [file.name for file in storage.files()] == ["index/v0000010/a.npy"]
    assert storage.folders("index") == ["v0000010"]


def test_files_of_others_are_not_deleted(storage):
    storage.write("index/v000001/ids.npy", b"x")
    storage.write("index/v000001/thesis.docx", b"mine")
    storage.delete_folder("index/v000001")
    assert [file.name for file in storage.files()] == ["index/v000001/thesis.docx"]
    with pytest.raises(
        FormatError, match=r"/index/v000001/thesis\.docx' is not the name of a file of an atlas; move it"
    ):
        storage.delete(["index/v000001/thesis.docx"])


def test_the_checksum_is_that_of_the_bytes(storage, monkeypatch):
    for module in ("_local", "_s3"):
        monkeypatch.setattr(f"scim.atlas.storage.{module}.CHUNK", 1000)
    content = os.urandom(3500)
    storage.write("a", content)
    storage.write("empty", b"")
    assert storage.checksum("a") == hashlib.sha256(content).hexdigest()
    assert storage.checksum("empty") == hashlib.sha256().hexdigest()
    with pytest.raises(FileNotFoundError, match="nothing"):
        storage.checksum("nothing")


def test_a_compressed_name_is_read_as_it_is(storage):
    storage.write("a.gz", b"no gzip")
    assert storage.read("a.gz") == b"no gzip"


def test_folders_are_uploaded_and_downloaded(storage, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    contents = {"weights.safetensors": os.urandom(100_000), "config.json": b"{}", "labels.tsv": b""}
    for name, content in contents.items():
        (here / name).write_bytes(content)
    storage.write("models/000001/config.json", b"older")
    storage.upload(here, "models/000001")
    assert {file.name: file.n_bytes for file in storage.files("models")} == {
        f"models/000001/{name}": len(content) for name, content in contents.items()
    }
    there = tmp_path / "there"
    storage.download("models/000001", there)
    found = {path.relative_to(there).as_posix(): path.read_bytes() for path in there.rglob("*") if path.is_file()}
    assert found == contents
    with pytest.raises(FileNotFoundError, match="'.*models/000002' has no files"):
        storage.download("models/000002", there)


def test_a_download_that_ends_early_is_an_error(storage, tmp_path, monkeypatch):
    storage.write("model/config.json", b"12345")
    monkeypatch.setattr(type(storage._files), "chunks", lambda self, name: iter([b"123"]))
    with pytest.raises(StorageError, match="ended after 3 of 5 bytes"):
        storage.download("model", tmp_path / "there")


def test_reading_creates_no_file(tmp_path):
    storage = Storage.of(tmp_path / "none")
    storage.exists("a"), storage.files(), storage.folders(), storage.delete(["atlas.json"]), storage.delete_folder("b")
    with pytest.raises(FileNotFoundError):
        storage.read("a")
    assert not (tmp_path / "none").exists()


def test_a_read_only_folder_raises(tmp_path):
    (tmp_path / "file").write_bytes(b"")  # permissions do not restrict an administrator
    with pytest.raises(NotADirectoryError, match="file"):
        Storage.of(tmp_path / "file").write("lock/a", b"")


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    storage = Storage.of(tmp_path)
    storage.write("a", b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        storage.write("a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert storage.read("a") == b"old"


def test_writes_in_progress_are_not_listed(tmp_path):
    storage = Storage.of(tmp_path)
    storage.write("a/b", b"")
    (tmp_path / "a" / ".b.0a1b2c3d.tmp").write_bytes(b"half")
    (tmp_path / ".v0001.0a1b2c3d.tmp").mkdir()
    assert [file.name for file in storage.files()] == ["a/b"]
    assert storage.folders() == ["a"]


def test_new_files_on_a_system_without_links(tmp_path, monkeypatch):
    def none(self, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", none)
    storage = Storage.of(tmp_path)
    storage.write("a", b"1", new=True)
    with pytest.raises(FileExistsError, match="exists already"):
        storage.write("a", b"2", new=True)
    assert storage.read("a") == b"1"


def test_a_path_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("a.scim", "a.scim/", "~/a.scim", Path("a.scim"), tmp_path / "b" / ".." / "a.scim"):
        storage = Storage.of(given)
        assert storage.path == tmp_path.resolve() / "a.scim"
        assert storage.uri == str(storage.path)
        assert storage.child("soma/obs") == f"{storage.uri}/soma/obs"
        assert storage.tiledb_config() == {}


def test_an_address_is_read():
    storage = Storage.of("s3://bucket/some/atlas/")
    assert (storage.uri, storage.path) == ("s3://bucket/some/atlas", None)
    assert storage.child("soma") == "s3://bucket/some/atlas/soma"
    assert Storage.of("s3://bucket").uri == "s3://bucket"
    assert repr(storage) == "Storage('s3://bucket/some/atlas')"


@pytest.mark.parametrize("uri", ["gs://bucket/a", "https://host/a", "file:///a", "://a"])
def test_other_schemes_are_refused(uri):
    with pytest.raises(ValueError, match="not a path on this machine; .*path"):
        Storage.of(uri)


@pytest.mark.parametrize("uri", ["s3://", "s3:///a", "s3://bucket//a", "s3://bucket/../a", ""])
def test_invalid_addresses_are_refused(uri):
    with pytest.raises(ValueError, match="s3://bucket/name"):
        Storage.of(uri)


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="Expected the path of an atlas or the address of one.* got int"):
        Storage.of(3)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../other", "a/../b", "a//b", "a/", "./a", "a\\b"])
def test_names_outside_the_atlas_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="Expected the name of a part, relative"):
        Storage.of(tmp_path).read(name)


def test_a_missing_bucket_raises(s3):
    storage = Storage.of("s3://nowhere-to-be-found/atlas")
    with pytest.raises(StorageError, match=r"Could not list .*NO_SUCH_BUCKET.* Check scim\.settings\.storage"):
        storage.files()
    with pytest.raises(OSError, match="nowhere-to-be-found"):
        storage.write("a", b"")


def test_a_file_that_is_deleted_while_it_is_read_is_not_there(s3):
    storage = Storage.of(s3.uri())
    storage.write("atlas.json", b"x" * 10)
    chunks = storage._files.chunks("atlas.json")
    opened = storage._files.system.open_input_stream(storage._files._key("atlas.json"))
    storage.delete(["atlas.json"])
    with pytest.raises(FileNotFoundError, match="No 's3://"):
        storage._files._next(opened, "atlas.json")
    with pytest.raises(FileNotFoundError, match="No 's3://"):
        next(chunks)


def test_a_file_that_grows_while_it_is_read_is_read_again(s3, monkeypatch):
    storage = Storage.of(s3.uri())
    storage.write("a", b"a whole file")
    parts = iter([b"a who", b"a whole file", b"", b"", b""])
    monkeypatch.setattr(type(storage._files), "chunks", lambda self, name: iter([next(parts)]))
    assert storage.read("a") == b"a whole file"
    with pytest.raises(StorageError, match="changes while it is read"):
        storage.read("a")


def test_a_stopped_server_is_an_error_within_a_time(s3_server, monkeypatch):
    monkeypatch.setattr("scim.atlas.storage._s3.TRIES", 2)  # the pauses between tries are most of the time
    storage = Storage.of(s3_server.uri())
    storage.write("a", b"x")
    s3_server.stop()
    calls = {
        "look for": lambda: storage.exists("a"),
        "read": lambda: storage.read("a"),
        "write": lambda: storage.write("a", b""),
        "list": storage.files,
        "delete": lambda: storage.delete(["atlas.json"]),
    }
    begun = time.monotonic()
    for what, call in calls.items():
        with pytest.raises(StorageError, match=rf"Could not {what} 's3://.*endpoint='http://127.0.0.1"):
            call()
    assert time.monotonic() - begun < ONE_OPERATION
    s3_server.start()
    storage.write("a", b"again")
    assert storage.read("a") == b"again"


def test_a_hanging_server_is_an_error_within_a_time(s3_server, monkeypatch):
    # With the defaults it takes 17 s; the test is of the bound below, not of the wait.
    monkeypatch.setattr("scim.atlas.storage._s3.REQUEST_SECONDS", 1)
    monkeypatch.setattr("scim.atlas.storage._s3.TRIES", 2)
    storage = Storage.of(s3_server.uri())
    storage.write("a", b"x")
    s3_server.pause()
    begun = time.monotonic()
    with pytest.raises(StorageError, match="Could not read"):
        storage.read("a")
    assert time.monotonic() - begun < ONE_OPERATION
    s3_server.resume()
    assert storage.read("a") == b"x"


def test_tiledb_reads_the_same_bucket(s3):
    import pyarrow as pa
    import tiledbsoma

    storage = Storage.of(s3.uri())
    context = tiledbsoma.SOMATileDBContext(tiledb_config=storage.tiledb_config())
    schema = pa.schema([("soma_joinid", pa.int64()), ("a", pa.int64())])
    uri = storage.child("soma/obs")
    with tiledbsoma.DataFrame.create(uri, schema=schema, domain=[(0, 9)], context=context) as frame:
        frame.write(pa.table({"soma_joinid": [0, 1], "a": [5, 6]}))
    assert any("__fragments" in file.name for file in storage.files("soma"))
    with tiledbsoma.open(uri, context=context) as frame:
        assert frame.read().concat()["a"].to_pylist() == [5, 6]


def test_tiledb_has_the_same_settings(monkeypatch):
    chosen = StorageSettings(region="eu-1", endpoint="minio:9000", proxy="http://me:pw@proxy", anonymous=True)
    monkeypatch.setattr(scim.settings, "storage", chosen)
    config = Storage.of("s3://bucket/a").tiledb_config()
    assert {name.removeprefix("vfs.s3."): value for name, value in config.items()} == {
        "connect_timeout_ms": "3000",
        "request_timeout_ms": "5000",
        "connect_max_tries": "2",
        "region": "eu-1",
        "endpoint_override": "minio:9000",
        "scheme": "https",
        "use_virtual_addressing": "false",
        "proxy_scheme": "http",
        "proxy_host": "proxy",
        "proxy_port": "80",
        "proxy_username": "me",
        "proxy_password": "pw",
        "no_sign_request": "true",
    }


def test_a_proxy_is_used(s3, monkeypatch):
    monkeypatch.setattr(scim.settings.storage, "proxy", s3.endpoint)
    monkeypatch.setattr(scim.settings.storage, "endpoint", "http://s3.amazonaws.com")
    storage = Storage.of(s3.uri())
    storage.write("a", b"by proxy")  # moto serves that host; no other host can be reached
    assert storage.read("a") == b"by proxy"


def test_anonymous_needs_no_credentials(s3, monkeypatch):
    storage = Storage.of(uri := s3.uri())
    storage.write("a", b"public")
    storage.write("b", b"private")
    s3.request("PUT", f"/{uri.removeprefix('s3://')}/a?acl", {"x-amz-acl": "public-read"})
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setattr(scim.settings.storage, "anonymous", True)
    assert Storage.of(uri).read("a") == b"public"
    with pytest.raises(StorageError, match="ACCESS_DENIED.*anonymous=True"):
        Storage.of(uri).read("b")


@pytest.mark.parametrize("endpoint", ["ftp://host", "https://", "https://host/path"])
def test_an_invalid_endpoint_is_refused(monkeypatch, endpoint):
    monkeypatch.setattr(scim.settings.storage, "endpoint", endpoint)
    with pytest.raises(ValueError, match=r"storage\.endpoint must be as 'https://host:port'"):
        Storage.of("s3://bucket/a").files()


def test_settings_come_from_the_environment(monkeypatch):
    names = ("REGION", "ENDPOINT", "PROXY", "ANONYMOUS")
    for name in (*(f"SCIM_S3_{name}" for name in names), "SCIM_CACHE", "SCIM_CACHE_BYTES"):
        monkeypatch.delenv(name, raising=False)
    assert StorageSettings() == StorageSettings(None, None, None, False, None, 20 * 10**9)
    monkeypatch.setenv("SCIM_S3_REGION", "eu-central-1")
    monkeypatch.setenv("SCIM_S3_ANONYMOUS", "true")
    monkeypatch.setenv("SCIM_CACHE", "/cache")
    monkeypatch.setenv("SCIM_CACHE_BYTES", "1000")
    assert StorageSettings() == StorageSettings("eu-central-1", None, None, True, "/cache", 1000)
    monkeypatch.setenv("SCIM_CACHE_BYTES", "20GB")
    with pytest.raises(ValueError, match="SCIM_CACHE_BYTES must be a whole number, got '20GB'"):
        StorageSettings()
    monkeypatch.delenv("SCIM_CACHE_BYTES")
    monkeypatch.setenv("SCIM_S3_ANONYMOUS", "perhaps")
    with pytest.raises(ValueError, match="SCIM_S3_ANONYMOUS must be 1 or 0, got 'perhaps'"):
        StorageSettings()


def test_settings_load_nothing():
    code = "import scim, sys; scim.settings.storage; print({'pyarrow', 'platformdirs', 'psutil'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
