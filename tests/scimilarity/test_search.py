from __future__ import annotations

import pytest

import scim
from scim.scimilarity import CellQuery


@pytest.fixture
def opened(monkeypatch):
    """The atlases that were opened."""
    found, own = [], scim.atlas.open

    def note(path):
        found.append(own(path))
        return found[-1]

    monkeypatch.setattr(scim.atlas, "open", note)
    return found


def test_an_atlas_that_is_refused_is_closed(atlas_path, opened):
    with pytest.raises(ValueError, match="has no columns .*expected one made by `scim import-scimilarity`"):
        CellQuery(atlas_path)
    with pytest.raises(ValueError, match="is closed"):
        opened[0].columns  # noqa: B018  (it reads the store)


def test_an_atlas_that_came_open_is_left_open(atlas_path, opened):
    with scim.atlas.open(atlas_path) as atlas:
        with pytest.raises(ValueError, match="has no columns"):
            CellQuery(atlas)
        assert "cell_id" in atlas.columns


def test_an_imported_atlas_stays_open(imported_path, opened):
    assert CellQuery(imported_path).atlas is opened[0]
    assert "cell_id" in opened[0].columns
