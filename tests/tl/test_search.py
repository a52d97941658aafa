from __future__ import annotations

import numpy as np
import pytest

import scim
from scim._core import ScimWarning


@pytest.fixture
def atlas(atlas_path):
    with scim.atlas.open(atlas_path) as opened:
        yield opened


def brute_force(X, atlas, k, allowed=None):
    ids = np.arange(atlas.n_obs) if allowed is None else np.asarray(allowed)
    distances = 1 - X @ atlas.embeddings(ids).T
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), ids[order]


def test_hits_of_cells_are_the_nearest(adata, atlas):
    scim.tl.search(adata, atlas, k=7)
    distances, ids = brute_force(adata.obsm["X_scim"], atlas, 7)
    np.testing.assert_allclose(adata.obsm["scim_search_distances"], distances, atol=1e-6)
    assert (adata.obsm["scim_search_ids"] == ids).mean() > 0.99  # equal distances may swap by rounding
    assert adata.obsm["scim_search_ids"].dtype == np.int64
    assert adata.obsm["scim_search_distances"].dtype == np.float32


def test_where_is_inside_the_search(adata, atlas):
    where = "tissue == 'lung' and study == 'two'"
    scim.tl.search(adata, atlas, k=20, where=where)
    passing = atlas.select(where)
    assert np.isin(adata.obsm["scim_search_ids"], passing).all()
    np.testing.assert_allclose(
        adata.obsm["scim_search_distances"], brute_force(adata.obsm["X_scim"], atlas, 20, passing)[0], atol=1e-6
    )


def test_fewer_cells_than_k_pass(adata, atlas):
    passing = atlas.select("n < 3")
    scim.tl.search(adata, atlas, k=5, where="n < 3")
    ids = adata.obsm["scim_search_ids"]
    assert (np.sort(ids[:, :3], axis=1) == passing).all()
    assert (ids[:, 3:] == -1).all()
    assert np.isinf(adata.obsm["scim_search_distances"][:, 3:]).all()
    assert len(scim.get.hits(adata, only_similar=False)) == 3 * adata.n_obs


def test_groups_by_summed_counts(adata, atlas):
    scim.tl.search(adata, atlas, groupby="cell_type", k=4)
    record = adata.uns["scim_search"]
    assert record["groups"].tolist() == adata.obs["cell_type"].cat.categories.tolist()
    sums = np.stack([adata.X[(adata.obs["cell_type"] == g).to_numpy()].toarray().sum(axis=0) for g in record["groups"]])
    centroids = np.log1p(1e4 * sums / sums.sum(axis=1, keepdims=True)).astype(np.float32)
    X = atlas.model.encode(centroids[:, np.argsort(scim.pp.match_genes(adata.var, atlas.model.genes).columns)])
    np.testing.assert_allclose(record["distances"], brute_force(X, atlas, 4)[0], atol=1e-5)
    assert "scim_search_ids" not in adata.obsm


def test_groups_sum_the_counts_that_were_embedded(adata, atlas):
    expected = scim.tl.search(adata, atlas, groupby="cell_type", k=4, copy=True)
    adata.layers["mine"] = adata.X.copy()
    adata.X = adata.X[:, np.random.default_rng(0).permutation(adata.n_vars)]  # whole counts, but not the right ones
    scim.tl.embed(adata, atlas, layer="mine")
    scim.tl.search(adata, atlas, groupby="cell_type", k=4)
    np.testing.assert_array_equal(adata.uns["scim_search"]["ids"], expected.uns["scim_search"]["ids"])


def test_groups_replace_an_earlier_search_for_cells(adata, atlas):
    scim.tl.search(adata, atlas, k=4)
    scim.tl.search(adata, atlas, groupby="cell_type", k=4)
    assert "scim_search_ids" not in adata.obsm


def test_groups_by_mean_embedding(adata, atlas):
    scim.tl.search(adata, atlas, groupby="sample", k=4, centroid="embedding")
    means = np.stack(
        [adata.obsm["X_scim"][(adata.obs["sample"] == s).to_numpy()].mean(axis=0) for s in ("sample0", "sample1")]
    )
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(adata.uns["scim_search"]["distances"], brute_force(means, atlas, 4)[0], atol=1e-6)


def test_cells_without_a_group_are_left_out(adata, atlas):
    full = scim.tl.search(adata[adata.obs["sample"] == "sample0"].copy(), atlas, groupby="sample", k=3, copy=True)
    adata.obs["some"] = adata.obs["sample"].where(adata.obs["sample"] == "sample0")
    scim.tl.search(adata, atlas, groupby="some", k=3)
    np.testing.assert_array_equal(adata.uns["scim_search"]["ids"], full.uns["scim_search"]["ids"])


def test_hits_join_the_columns_of_the_atlas(adata, atlas):
    scim.tl.search(adata, atlas, k=3)
    hits = scim.get.hits(adata, ["label", "tissue"], only_similar=False)
    assert hits.columns.tolist() == ["query", "rank", "id", "distance", "similar", "label", "tissue"]
    assert len(hits) == 3 * adata.n_obs
    row = hits.iloc[4]
    assert (row["query"], row["rank"]) == (adata.obs_names[1], 2)
    assert row["id"] == adata.obsm["scim_search_ids"][1, 1]
    assert row["tissue"] == atlas.obs([row["id"]])["tissue"].iloc[0]


def test_hits_follow_a_slice(adata, atlas):
    scim.tl.search(adata, atlas, k=2)
    part = adata[[20, 4]].copy()
    assert (
        scim.get.hits(part, [], only_similar=False)["query"].tolist()
        == [part.obs_names[0]] * 2 + [part.obs_names[1]] * 2
    )


def test_composition_adds_up(adata, atlas):
    scim.tl.search(adata, atlas, groupby="cell_type", k=10)
    by_query = scim.get.composition(adata, ["query", "tissue"], only_similar=False)
    assert by_query.groupby("query")["n_hits"].sum().tolist() == [10, 10, 10]
    np.testing.assert_allclose(by_query.groupby("query")["share"].sum(), 1)
    overall = scim.get.composition(adata, "note", only_similar=False)
    assert overall["n_hits"].sum() == 30
    assert "missing" in overall["note"].tolist()


def test_a_moved_atlas_can_be_named(adata, atlas_path, tmp_path):
    import shutil

    moved = shutil.copytree(atlas_path, tmp_path / "moved.scim")
    scim.tl.search(adata, moved, k=2)
    shutil.rmtree(moved)
    with pytest.raises(FileNotFoundError, match="No atlas at"):
        scim.get.hits(adata)
    assert len(scim.get.hits(adata, atlas=atlas_path, only_similar=False)) == 2 * adata.n_obs


def test_hits_of_the_packaged_atlas_name_no_path(tmp_path):
    cells = scim.datasets.toy(6)
    with pytest.warns(ScimWarning):  # few genes
        scim.tl.embed(cells, scim.atlas.PACKAGED)
    scim.tl.search(cells, scim.atlas.PACKAGED, k=2)
    assert cells.uns["scim_search"]["atlas"]["path"] == "packaged"
    assert scim.get.hits(cells, only_similar=False)["study"].notna().all()


def test_copy_leaves_the_input_unchanged(adata, atlas):
    other = scim.tl.search(adata, atlas, k=2, key_added="found", copy=True)
    assert "found" in other.uns
    assert {"found_ids", "found_distances"} <= set(other.obsm)
    assert "found" not in adata.uns
    assert len(scim.get.hits(other, key="found", only_similar=False)) == 2 * adata.n_obs
