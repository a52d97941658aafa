"""Clusters of novel cells and their genes, with values computed by hand."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes
from scim.label_transfer import ExpressionReference

LABELS = ["B cell", "T cell", "classical monocyte"]
NOVEL_TYPE = "classical monocyte"
N_SPACE = 90  # genes of the statistics; the other 21 of the toy cells are markers of monocytes
SHARE = np.linspace(1, 2, N_SPACE, dtype=np.float32) / np.linspace(1, 2, N_SPACE, dtype=np.float32).sum()


def reference(genes):
    """Statistics of three labels over the first genes, with means that differ by label and gene."""
    means = (np.arange(3)[:, None] + np.arange(N_SPACE)[None] % 4 / 4).astype(np.float16)
    measured = np.ones(means.shape, dtype=bool)
    measured[0, 5] = False
    means[0, 5] = 0
    n_cells = np.full(3, 50, np.int32)
    labels, studies = np.array(LABELS, dtype=object), np.array(["one"] * 3, dtype=object)
    factor, noise = np.zeros((1, N_SPACE), np.float16), np.ones(N_SPACE, np.float32)
    return ExpressionReference(genes[:N_SPACE], SHARE, labels, studies, n_cells, means, measured, factor, noise)


@pytest.fixture
def measured(adata, atlas_path):
    """Annotated cells, 15 of them novel, and their atlas with statistics of expression."""
    with scim.atlas.open(atlas_path) as atlas:
        atlas.label_transfer().expression = reference(scim.pp.canonical_genes(adata.var_names))
        scim.tl.annotate(adata, atlas, expression=False)
        is_novel = adata.obs["cell_type"] == NOVEL_TYPE
        adata.obs["scim_label_novelty"] = np.where(is_novel, 0.9, 0.1).astype(np.float32)
        yield adata, atlas


def lognormalised(adata):
    counts = adata.X.toarray().astype(np.float64)
    return np.log1p(1e4 * counts / counts[:, :N_SPACE].sum(axis=1, keepdims=True))


def test_genes_exceed_the_nearest_label_and_what_known_cells_exceed_theirs_by(measured):
    adata, atlas = measured
    scim.tl.novel(adata, atlas, groupby="cell_type", n_genes=200)
    (cluster,) = adata.uns["scim_novel"]["clusters"].itertuples()
    label = adata.uns["scim_label"]["labels"].tolist().index(cluster.nearest_label)
    X, mean = lognormalised(adata), np.zeros((3, adata.n_vars))
    statistics = atlas.label_transfer().expression
    mean[:, :N_SPACE] = statistics.means
    is_novel = (adata.obs["cell_type"] == NOVEL_TYPE).to_numpy()
    known = adata.obsm["scim_label_codes"][~is_novel, 0]
    mean[0, 5] = np.nan
    shift = (X[~is_novel].mean(axis=0) - np.nanmean(mean[known], axis=0)).clip(0)
    expected = X[is_novel].mean(axis=0) - mean[label] - shift
    table = scim.get.novel(adata).set_index("gene")
    np.testing.assert_allclose(
        table["log_fold_change"], pd.Series(expected, adata.var_names)[table.index], rtol=1e-4, atol=1e-4
    )
    assert table["log_fold_change"].is_monotonic_decreasing
    assert set(table.index) == set(adata.var_names[expected > 1e-6])  # NaN is not: the label did not measure it
    share = pd.Series((adata.X.toarray()[is_novel] > 0).mean(axis=0), adata.var_names)
    np.testing.assert_allclose(table["share"], share[table.index], rtol=1e-6)
    assert set(table.index) & set(adata.var_names[N_SPACE:])  # genes beyond the statistics


def test_few_known_cells_show_nothing_technical(measured):
    adata, atlas = measured
    few = adata[(adata.obs["cell_type"] == NOVEL_TYPE) | (np.arange(45) < 9)].copy()
    scim.tl.novel(few, atlas, n_genes=1000, resolution=0.1)
    (cluster,) = few.uns["scim_novel"]["clusters"].itertuples()
    is_novel = (few.obs["scim_novel"] == "0").to_numpy()
    means = np.zeros(few.n_vars)
    means[:N_SPACE] = reference(np.empty(200, dtype=object)).means[LABELS.index(cluster.nearest_label)]
    change = pd.Series(lognormalised(few)[is_novel].mean(axis=0) - means, few.var_names)
    table = scim.get.novel(few).set_index("gene")
    np.testing.assert_allclose(table["log_fold_change"], change[table.index], rtol=1e-4, atol=1e-4)


def test_groups_with_most_cells_novel(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path)
    adata.obs["group"] = pd.Categorical(["c"] * 12 + ["a"] * 20 + ["b"] * 10 + [None] * 3)
    novelty = np.full(45, 0.9, np.float32)
    novelty[[0, 1]], novelty[12:22], novelty[32] = 0.4, 0.4, 0.5  # 10 of 12, 10 of 20, 10 of 10 are novel
    adata.obs["scim_label_novelty"] = novelty
    scim.tl.novel(adata, atlas_path, groupby="group")
    table = adata.uns["scim_novel"]["clusters"]
    assert table["cluster"].tolist() == ["b", "c"]  # half of a is not most; equals in the order of the categories
    assert table["n_cells"].tolist() == [10, 10]
    np.testing.assert_allclose(table["novelty"], [0.86, 0.9], rtol=1e-6)
    assert (
        adata.obs["scim_novel"].astype(object).fillna("").tolist()
        == [""] * 2 + ["c"] * 10 + [""] * 20 + ["b"] * 10 + [""] * 3
    )
    confidence = adata.obs["scim_label_confidence"].to_numpy()
    np.testing.assert_allclose(table["confidence"], [confidence[32:42].mean(), confidence[2:12].mean()], rtol=1e-5)
    scim.tl.novel(adata, atlas_path, groupby="group", min_cells=11)
    assert adata.uns["scim_novel"]["clusters"].empty
    scim.tl.novel(adata, atlas_path, groupby="group", threshold=0.3)
    assert adata.uns["scim_novel"]["clusters"]["cluster"].tolist() == ["a", "c", "b"]  # largest first


def test_the_nearest_label_has_the_largest_mean_share(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, top=2)
    adata.obs["scim_label_novelty"] = np.float32(1)
    adata.obs["all"] = "all"
    codes = np.tile([0, 1], (45, 1))
    codes[:20] = [2, -1]
    adata.obsm["scim_label_codes"] = codes
    adata.obsm["scim_label_shares"] = np.tile(np.float32([0.6, 0.4]), (45, 1))  # of 45: 15.0, 10.0 and 12.0
    scim.tl.novel(adata, atlas_path, groupby="all")
    (row,) = adata.uns["scim_novel"]["clusters"].itertuples()
    assert (row.nearest_label, row.nearest_label_id, row.n_cells) == ("B cell", "CL:0000236", 45)


def test_leiden_clusters_of_planted_cells(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path)
    centers = np.eye(16)[np.repeat([0, 1, 2, 3], [20, 12, 9, 4])]
    adata.obsm["X_scim"] = (centers + np.random.default_rng(0).normal(0, 0.01, (45, 16))).astype(np.float32)
    novelty = np.where(np.arange(45) < 41, 0.8, 0.1)
    adata.obs["scim_label_novelty"] = novelty
    scim.tl.novel(adata, atlas_path, resolution=0.01, key_added="mine")
    expected = ["0"] * 20 + ["1"] * 12 + [""] * 13  # nine cells are too few for a cluster
    assert adata.obs["mine"].astype(object).fillna("").tolist() == expected
    again = scim.tl.novel(adata, atlas_path, resolution=0.01, key_added="again", copy=True)
    assert again.obs["again"].equals(adata.obs["mine"].rename("again"))


def test_few_novel_cells_are_no_cluster(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path)
    adata.obs["scim_label_novelty"] = np.where(np.arange(45) < 9, 0.8, 0.1)
    scim.tl.novel(adata, atlas_path)
    assert adata.obs["scim_novel"].isna().all()
    assert scim.get.novel(adata).empty
    adata.obs["scim_label_novelty"] = np.float32(0)
    scim.tl.novel(adata, atlas_path, min_cells=1)
    assert adata.uns["scim_novel"]["clusters"].empty


def test_genes_of_the_query_have_its_names(measured, tmp_path):
    adata, atlas = measured
    adata.var["symbol"] = adata.var_names
    adata.var_names = [f"{gene}.3" for gene in scim.pp.canonical_genes(adata.var_names)]
    scim.tl.novel(adata, atlas, groupby="cell_type", n_genes=10)
    genes = scim.get.novel(adata)["gene"]
    assert len(genes) == 10
    assert genes.isin(adata.var_names).all()
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(scim.get.novel(back), scim.get.novel(adata))


def test_without_counts_there_are_clusters_but_no_genes(measured, caplog):
    adata, atlas = measured
    bare = anndata.AnnData(obs=adata.obs, obsm=dict(adata.obsm), uns=dict(adata.uns))
    with caplog.at_level("INFO", logger="scim"):
        scim.tl.novel(bare, atlas, groupby="cell_type")
    assert bare.uns["scim_novel"]["clusters"]["cluster"].tolist() == [NOVEL_TYPE]
    assert scim.get.novel(bare).empty
    assert "the expression of the genes is not used: Expected cells and genes" in caplog.text


def test_copy_leaves_the_input_unchanged(measured):
    adata, atlas = measured
    before = list(adata.obs), sorted(adata.uns)
    other = scim.tl.novel(adata, atlas, groupby="cell_type", key_added="mine", copy=True)
    assert (list(adata.obs), sorted(adata.uns)) == before
    assert "mine" in other.obs
    assert set(other.uns["mine"]) == {"params", "atlas", "clusters", "genes", "n_cells_empty"}
    assert other.uns["mine"]["params"]["groupby"] == "cell_type"


def test_another_atlas_is_refused(measured, tmp_path):
    adata, _ = measured
    with pytest.raises(ValueError, match="but .* is .*; pass atlas="):
        scim.tl.novel(adata, fakes.toy_atlas(tmp_path / "other.scim"))
