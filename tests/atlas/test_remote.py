"""An atlas on a local S3 server: the same calls, with its index in a local cache."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes
from scim._core import FormatError, StorageError, settings


@pytest.fixture
def remote(s3):
    with scim.atlas.create(s3.uri(), model=fakes.tiny_model()) as atlas:
        yield atlas


def fill(atlas):
    atlas.append(
        fakes.cells(50, seed=2), study="one", label_key="cell_type", obs_columns=["tissue", "age"], counts=True
    )
    atlas.build_index()
    atlas.append(fakes.cells(30, seed=3), study="two", label_key="cell_type", obs_columns=["note"], counts=True)


def test_the_same_calls_give_the_same_results(remote, writable, s3):
    for atlas in (remote, writable):
        fill(atlas)
    query = fakes.cells(20, seed=9)
    with scim.atlas.open(remote.uri) as reader:
        pd.testing.assert_frame_equal(reader.obs(), writable.obs())
        np.testing.assert_array_equal(reader.embeddings(), writable.embeddings())
        np.testing.assert_array_equal(reader.select("tissue == 'lung'"), writable.select("tissue == 'lung'"))
        assert reader.info()["studies"] == {"one": 50, "two": 30}
        results = []
        for atlas in (reader, writable):
            scim.tl.embed(query, atlas)
            scim.tl.search(query, atlas, k=5, where="age > 9")
            scim.tl.annotate(query, atlas, max_error=1)
            results.append((query.obsm["scim_search_ids"], query.obs["scim_label"].tolist()))
        np.testing.assert_array_equal(results[0][0], results[1][0])
        assert results[0][1] == results[1][1]
        scim.tl.search(query, reader, k=5)
        assert scim.get.hits(query, atlas=reader, only_similar=False)["study"].isin(["one", "two"]).all()
        with pytest.raises(ValueError, match="is remote and has no folder; use its uri"):
            _ = reader.path
    assert scim.atlas.verify(remote.uri) == []


def test_it_is_changed_as_a_local_one(remote):
    fill(remote)
    version = remote.version
    assert remote.remove("study == 'one' and age > 20") > 0
    remote.reembed(fakes.tiny_model(seed=5))
    remote.compact()
    obs = remote.obs()
    with scim.atlas.open(remote.uri, at=version) as old:
        assert old.n_obs == 80
    assert remote.vacuum() > 0
    with scim.atlas.open(remote.uri) as reader:
        pd.testing.assert_frame_equal(reader.obs(), obs)
        np.testing.assert_allclose(reader.index.query(reader.embeddings(), 1).distances, 0, atol=1e-6)
    assert scim.atlas.verify(remote.uri) == []
    with pytest.raises(ValueError, match="has no version"):
        scim.atlas.open(remote.uri, at=version)


def test_the_index_is_downloaded_once(remote, monkeypatch):
    from scim.atlas.storage import Storage

    fill(remote)
    with scim.atlas.open(remote.uri) as reader:
        assert reader.index.n_rows == 80

    def no(*_):
        msg = "downloaded again"
        raise AssertionError(msg)

    monkeypatch.setattr(Storage, "download", no)
    with scim.atlas.open(remote.uri) as reader:
        assert reader.index.n_rows == 80


def test_an_interrupted_append_is_rolled_back_on_s3(remote, monkeypatch):
    fill(remote)
    before = remote.obs()

    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("scim.atlas._append.add_names", stop)
        with pytest.raises(KeyboardInterrupt):
            remote.append(fakes.cells(30, seed=7), study="three", obs_columns=["n"])
    with scim.atlas.open(remote.uri) as reader:
        pd.testing.assert_frame_equal(reader.obs(), before)
    assert [problem.part for problem in scim.atlas.verify(remote.uri)] == ["leftover"]
    remote.append(fakes.cells(20, seed=7), study="three")
    pd.testing.assert_frame_equal(remote.obs().iloc[:80], before)
    assert scim.atlas.verify(remote.uri) == []


def test_an_existing_atlas_is_replaced_on_request(remote, s3):
    fill(remote)
    with pytest.raises(FileExistsError, match="exists already; pass overwrite=True"):
        scim.atlas.create(remote.uri, model=fakes.tiny_model())
    with scim.atlas.create(remote.uri, model=fakes.tiny_model(), overwrite=True) as again:
        assert again.n_obs == 0
    with pytest.raises(FileNotFoundError, match="is not a scim atlas: it has no 'atlas.json'"):
        scim.atlas.open(s3.uri())


def test_the_shell_accepts_an_address(remote, capsys):
    from scim.cli._main import run

    fill(remote)
    assert run(["atlas", "info", remote.uri]) == 0
    assert "80 cells" in capsys.readouterr().out
    assert run(["atlas", "verify", remote.uri]) == 0


def test_no_data_is_lost_when_a_server_stops(s3_server, monkeypatch):
    # The server is paused and not stopped: moto loses all data when it stops, unlike a real store.
    monkeypatch.setattr("scim.atlas.storage._s3.REQUEST_SECONDS", 1)
    monkeypatch.setattr("scim.atlas.storage._s3.TRIES", 2)
    with scim.atlas.create(s3_server.uri(), model=fakes.tiny_model()) as atlas:
        fill(atlas)
        before = atlas.obs()
        from scim.atlas.soma import Writer

        def block(self, *args, **parts):
            s3_server.pause()
            original(self, *args, **parts)

        original = Writer.block
        with monkeypatch.context() as patch:
            patch.setattr(Writer, "block", block)
            with pytest.raises((StorageError, FormatError), match="s3://") as error:
                atlas.append(fakes.cells(30, seed=7), study="three", obs_columns=["n"])
        assert "\n" not in str(error.value)
        s3_server.resume()
        with scim.atlas.open(atlas.uri) as reader:
            pd.testing.assert_frame_equal(reader.obs(), before)
        atlas.append(fakes.cells(20, seed=7), study="three")
        assert atlas.n_obs == 100
        assert scim.atlas.verify(atlas.uri) == []


def test_a_missing_server(s3_server):
    uri = s3_server.uri()
    s3_server.stop()
    with pytest.raises(StorageError, match=r"s3://.*scim.settings.storage"):
        scim.atlas.open(uri)
    assert settings.storage.endpoint == s3_server.endpoint
