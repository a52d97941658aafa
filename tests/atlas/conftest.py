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
    """A server that speaks S3, for all tests; `s3.uri()` is an address of one's own. Do not stop this one."""
    server = Server()
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        use(server, patch, tmp_path_factory.mktemp("cache"))
        yield server
    server.stop()


@pytest.fixture
def s3_server(monkeypatch, tmp_path):
    """A server of one's own, to stop, pause and start again; it forgets all when it stops."""
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
    """What their changes need, and `base.scim`, the atlas that they change a copy of."""
    folder = tmp_path_factory.mktemp("inputs")
    changes.make_inputs(folder)
    return folder
