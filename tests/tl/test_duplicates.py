"""Cells that an atlas has several times, and hits that are too far away."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import scim
from helpers import fakes


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """60 cells in two studies; in the second none is primary, and a third study lacks the column."""
    with scim.atlas.create(tmp_path_factory.mktemp("twice") / "twice.scim", model=fakes.tiny_model()) as atlas:
        for study, primary in (("first", True), ("again", False)):
            cells = fakes.cells(60, seed=2)
            cells.obs["is_primary_data"] = primary
            atlas.append(cells, study=study, label_key="cell_type", obs_columns=["is_primary_data", "tissue"])
        atlas.append(fakes.cells(30, seed=3), study="third", label_key="cell_type")
        atlas.build_index()
    with scim.atlas.open(atlas.path) as opened:
        yield opened


def nearest(X, atlas, k, ids):
    """Return distances of the nearest of some cells."""
    distances = np.sort(1 - X @ atlas.embeddings(ids).T, axis=1)
    return np.pad(distances[:, :k], ((0, 0), (0, max(0, k - len(ids)))), constant_values=np.inf)


@pytest.mark.parametrize("k", [1, 10, 150])
def test_duplicates_are_found_once(adata, twice, k):
    scim.tl.search(adata, twice, k=k)
    ids = np.r_[np.arange(60), np.arange(120, 150)]
    np.testing.assert_allclose(
        adata.obsm["scim_search_distances"], nearest(adata.obsm["X_scim"], twice, k, ids), atol=1e-6
    )
    assert np.isin(adata.obsm["scim_search_ids"], [*ids, -1]).all()
    params = adata.uns["scim_search"]["params"]
    assert (params["duplicates"], params["primary_only"]) == ("collapse", True)


def test_duplicates_may_be_kept(adata, twice):
    scim.tl.search(adata, twice, k=10, duplicates="keep")
    np.testing.assert_allclose(
        adata.obsm["scim_search_distances"], nearest(adata.obsm["X_scim"], twice, 10, np.arange(150)), atol=1e-6
    )
    assert (adata.obsm["scim_search_ids"] == adata.obsm["scim_search_ids"][:, :1] + 60).any()
    params = adata.uns["scim_search"]["params"]
    assert (params["duplicates"], params["primary_only"]) == ("keep", False)


def test_equal_cells_are_found_once_without_the_column(adata, tmp_path):
    with scim.atlas.create(tmp_path / "plain.scim", model=fakes.tiny_model()) as atlas:
        for study in ("first", "again"):
            atlas.append(fakes.cells(60, seed=2), study=study, label_key="cell_type")
        atlas.build_index()
        scim.tl.search(adata, atlas, k=20)
        assert (adata.obsm["scim_search_ids"] < 60).all()  # of equal cells the one of lowest id
        scim.tl.search(adata, atlas, k=20, where="study == 'again' # only there")
        assert (adata.obsm["scim_search_ids"] >= 60).all()
        assert not adata.uns["scim_search"]["params"]["primary_only"]


def test_the_filter_and_duplicates_together(adata, twice):
    where = "tissue == 'lung' or study == 'third' # or is brackets"
    scim.tl.search(adata, twice, k=100, where=where)
    ids = [*range(1, 60, 2), *range(120, 150)]
    assert set(adata.obsm["scim_search_ids"].ravel()) == {-1, *ids}
    with pytest.raises(ValueError, match="No cell of the atlas passes where=.*study == 'again'.* and is_primary_data"):
        scim.tl.search(adata, twice, where="study == 'again'")


def test_skipped_duplicates_are_logged(adata, twice, caplog):
    with caplog.at_level(logging.INFO, logger="scim"):
        scim.tl.search(adata, twice, k=3)
        scim.tl.search(adata, twice, k=3, duplicates="keep")
    messages = [record.getMessage().split(";")[0] for record in caplog.records if "hits" in record.getMessage()]
    assert messages == [
        "wrote uns['scim_search']: 135 hits, up to 3 for each of 45 queries (primary cells, equal ones once)",
        "wrote uns['scim_search']: 135 hits, up to 3 for each of 45 queries (all cells)",
    ]


def test_a_duplicate_has_no_second_weight(adata, twice):
    scim.tl.annotate(adata, twice, k=5, weights="uniform", max_error=1, expression=False)
    once = adata.obsm["scim_label_shares"][:, 0]
    codes = twice.labels.codes
    ids = np.r_[np.arange(60), np.arange(120, 150)]
    near = ids[np.argsort(1 - adata.obsm["X_scim"] @ twice.embeddings(ids).T, axis=1)[:, :5]]
    expected = [np.bincount(codes[row]).max() / 5 for row in near]
    np.testing.assert_allclose(once, expected, rtol=1e-6)
    scim.tl.annotate(adata, twice, k=5, weights="uniform", max_error=1, duplicates="keep", expression=False)
    assert (adata.obsm["scim_label_shares"][:, 0] != once).any()


@pytest.mark.parametrize("limit", [0.0, 0.02, 0.1, 2.0])
def test_far_cells_are_left_out(adata, twice, limit):
    scim.tl.search(adata, twice, k=150, max_distance=limit, duplicates="keep")
    distances, ids = adata.obsm["scim_search_distances"], adata.obsm["scim_search_ids"]
    expected = 1 - adata.obsm["X_scim"] @ twice.embeddings().T
    clear = np.abs(expected - limit) > 1e-6
    for row, found in enumerate(ids):
        inside = np.isin(np.arange(150), found)
        assert (inside == (expected[row] <= limit))[clear[row]].all()
    np.testing.assert_array_equal(np.isinf(distances), ids < 0)
    assert adata.uns["scim_search"]["params"]["max_distance"] == limit
    assert len(scim.get.hits(adata, [], atlas=twice, only_similar=False)) == (ids >= 0).sum()


def test_an_open_atlas_stays_open(adata, twice, atlas_path):
    scim.tl.search(adata, twice, k=2)
    assert len(scim.get.hits(adata, atlas=twice, only_similar=False)) == 90
    assert twice.obs([0]).shape[0] == 1
    with scim.atlas.open(atlas_path) as other, pytest.raises(ValueError, match=r"pass atlas="):
        scim.get.hits(adata, atlas=other)


def test_where_of_the_index_and_of_the_store_agree(adata, twice, monkeypatch):
    scim.tl.search(adata, twice, k=20, where="tissue == 'blood'")
    scim.tl.annotate(adata, twice, where="tissue == 'blood'")
    other = adata.copy()
    monkeypatch.setattr(type(twice), "indexes", lambda *_: False)
    scim.tl.search(other, twice, k=20, where="tissue == 'blood'")
    scim.tl.annotate(other, twice, where="tissue == 'blood'")
    np.testing.assert_array_equal(adata.obsm["scim_search_ids"], other.obsm["scim_search_ids"])
    np.testing.assert_array_equal(adata.obsm["scim_label_shares"], other.obsm["scim_label_shares"])
