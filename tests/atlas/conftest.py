from __future__ import annotations

import pytest

import scim
from helpers import fakes


@pytest.fixture
def atlas(atlas_path):
    with scim.atlas.open(atlas_path) as opened:
        yield opened


@pytest.fixture
def writable(tmp_path):
    with scim.atlas.create(tmp_path / "w.scim", model=fakes.tiny_model()) as opened:
        yield opened
