from __future__ import annotations

import pytest

import scim
from helpers import changes, fakes
from helpers.s3 import Server, use


@pytest.fixture
def atlas(atlas_path):
    with scim.atlas.open(atlas_path) as opened:
        yield opened


@pytest.fixture
def writable(tmp_path):
    with scim.atlas.create(tmp_path / "w.scim", model=fakes.tiny_model()) as opened:
        yield opened


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """An S3 server shared by all tests; `s3.uri()` returns a new address. Do not stop it."""
    server = Server()
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        use(server, patch, tmp_path_factory.mktemp("cache"))
        yield server
    server.stop()


@pytest.fixture
def s3_server(monkeypatch, tmp_path):
    """An S3 server that a test may stop, pause and start; it loses all data when it stops."""
    server = Server()
    server.start()
    use(server, monkeypatch, tmp_path / "cache")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def workers():
    """Processes that change an atlas and may be killed."""
    with changes.Workers() as running:
        yield running


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """The input files of the changes, and `base.scim`, the atlas of which copies are changed."""
    folder = tmp_path_factory.mktemp("inputs")
    changes.make_inputs(folder)
    return folder
