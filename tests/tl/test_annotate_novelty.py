"""What `tl.annotate` writes and states of novel cells, and how a tissue weighs on labels."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scim
from helpers import fakes

LINE = "of the cells are unlike every reference cell"


def outliers(n=40):
    """Embeddings that are like no cell of the toy atlas."""
    X = np.random.default_rng(0).normal(size=(n, 16))
    obs = pd.DataFrame({"cluster": np.repeat(["2", "1"], [n - 10, 10])}, index=[f"c{i}" for i in range(n)])
    return anndata.AnnData(obs=obs, obsm={"X_scim": (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)})


def test_novelty_is_written_beside_the_confidence(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, groupby="cell_type", key_added="mine")
    novelty = adata.obs["mine_novelty"]
    assert novelty.dtype == np.float32
    assert novelty.between(0, 1).all()
    of_a_tenth = novelty / (3 - 2 * novelty)  # the confidence is of data with a tenth of novel cells, not a quarter
    assert (of_a_tenth + adata.obs["mine_confidence"] <= 1 + 1e-5).all()  # a right label is of a type in the atlas
    table = adata.uns["mine"]["groups"].set_index("group")
    expected = novelty.groupby(adata.obs["cell_type"], observed=True)
    np.testing.assert_allclose(table["novelty"], expected.mean()[table.index], rtol=1e-5)
    np.testing.assert_allclose(table["novel"], expected.agg(lambda group: (group >= 0.5).mean())[table.index])
    params = adata.uns["mine"]["params"]
    assert (params["tissue"], params["novel"]) == ("", 0.5)


def test_a_line_names_groups_of_novel_cells_and_the_tissues_of_the_atlas(adata, atlas_path, caplog):
    novel = outliers()
    clusters = pd.DataFrame({"cluster": ["0"] * 45 + novel.obs["cluster"].tolist()}, index=map(str, range(85)))
    cells = anndata.AnnData(obs=clusters, obsm={"X_scim": np.vstack([adata.obsm["X_scim"], novel.obsm["X_scim"]])})
    scim.tl.annotate(cells, atlas_path, groupby="cluster")
    share = (cells.obs["scim_label_novelty"] >= 0.5).mean()
    assert f"{share:.0%} {LINE}, mostly in groups 2, 1 of obs['cluster']. The atlas covers: blood, lung." in caplog.text
    caplog.clear()
    scim.tl.annotate(cells, atlas_path, where="tissue == 'lung'")
    assert f"{LINE}; scim.tl.novel(adata) finds their clusters and genes. The atlas covers: lung." in caplog.text


def test_few_novel_cells_are_no_line(adata, atlas_path, caplog):
    scim.tl.annotate(adata, atlas_path)
    assert (adata.obs["scim_label_novelty"] >= 0.5).mean() < 0.1
    assert LINE not in caplog.text


def test_only_five_groups_are_named(atlas_path, caplog):
    cells = outliers(80)
    cells.obs["cluster"] = np.repeat(list("abcdefgh"), 10)
    scim.tl.annotate(cells, atlas_path, groupby="cluster")
    assert " and 3 more of obs['cluster']" in caplog.text


def test_expression_is_used_where_there_are_counts(adata, atlas_path, tmp_path, caplog):
    scim.tl.annotate(adata, atlas_path, key_added="both")
    scim.tl.annotate(adata, atlas_path, key_added="alone", expression=False)
    assert adata.uns["both"]["params"]["expression"] is True
    assert adata.uns["alone"]["params"]["expression"] is False
    assert not np.array_equal(adata.obs["both_confidence"], adata.obs["alone_confidence"])
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    scim.tl.annotate(backed, atlas_path, key_added="again")
    np.testing.assert_array_equal(backed.obs["again_novelty"], adata.obs["both_novelty"])
    backed.file.close()
    bare = anndata.AnnData(obs=adata.obs, obsm=dict(adata.obsm), uns=dict(adata.uns))
    with caplog.at_level("INFO", logger="scim"):
        scim.tl.annotate(bare, atlas_path, key_added="bare")
    assert "the expression of the genes is not used: Expected cells and genes" in caplog.text
    np.testing.assert_array_equal(bare.obs["bare_confidence"], adata.obs["alone_confidence"])


def test_counts_that_were_lognormalised_since_give_the_same_labels(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, key_added="before")
    adata.X = sparse.csr_matrix(np.log1p(adata.X.toarray() * 1e4 / adata.X.sum(axis=1)))
    scim.tl.annotate(adata, atlas_path, key_added="after")
    assert adata.uns["after"]["params"]["expression"] is True
    np.testing.assert_allclose(adata.obs["after_novelty"], adata.obs["before_novelty"], atol=1e-3)
    assert adata.obs["after"].equals(adata.obs["before"].rename("after"))


@pytest.fixture(scope="module")
def tissues(tmp_path_factory):
    """An atlas in which B cells are in the lung only, and T cells of two names in blood and lung."""
    path = tmp_path_factory.mktemp("tissues") / "tissues.scim"
    with scim.atlas.create(path, model=fakes.tiny_model()) as atlas:
        for study, seed in (("one", 2), ("two", 3)):
            cells = fakes.cells(90, seed=seed)
            types = cells.obs["cell_type"].astype(str)
            cells.obs["tissue"] = np.where(types == "B cell", "lung", np.where(cells.obs["n"] % 2, "lung", "blood"))
            fine = (types == "T cell") & (cells.obs["tissue"] == "lung")
            cells.obs["fine"] = types.mask(fine, "CD4-positive, alpha-beta T cell")
            atlas.append(cells, study=study, label_key="fine", obs_columns=["tissue"])
        atlas.build_index()
    return path


def best(adata):
    return pd.Series(adata.uns["scim_label"]["labels"][adata.obsm["scim_label_codes"][:, 0]], adata.obs_names)


def test_labels_of_other_tissues_weigh_a_tenth(adata, tissues):
    shares = {}
    for tissue in ("blood", "lung", ["blood", "lung"]):
        scim.tl.annotate(adata, tissues, tissue=tissue, max_error=1, expression=False, top=4)
        codes, share = adata.obsm["scim_label_codes"], adata.obsm["scim_label_shares"]
        table = np.zeros((45, 5))  # the last column is that of code -1
        np.put_along_axis(table, codes, share, axis=1)
        shares[str(tissue)] = table[:, :4]
    labels = adata.uns["scim_label"]["labels"].tolist()
    assert labels == ["B cell", "CD4-positive, alpha-beta T cell", "T cell", "classical monocyte"]
    everywhere = shares["['blood', 'lung']"]
    weighted = everywhere * [0.1, 1, 1, 1]  # CD4 T cells are below the T cells of blood
    expected = weighted / weighted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares["blood"], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(shares["lung"], everywhere)
    assert adata.uns["scim_label"]["params"]["tissue"] == "blood, lung"


def test_a_tissue_is_no_filter(adata, tissues):
    scim.tl.annotate(adata, tissues, tissue="blood", max_error=1)
    assert (best(adata)[adata.obs["cell_type"] == "B cell"] == "B cell").mean() > 0.8
    scim.tl.annotate(adata, tissues, where="tissue == 'blood'", max_error=1)
    assert "B cell" not in set(best(adata))


def test_unknown_tissues_are_refused(adata, tissues, tmp_path):
    with pytest.raises(
        ValueError, match=r"tissue=\['liver'\] are no tissues of the atlas. Present: \['blood', 'lung'\]"
    ):
        scim.tl.annotate(adata, tissues, tissue=["blood", "liver"])
    with pytest.raises(TypeError, match=r"tissue must be names, got \[3\]"):
        scim.tl.annotate(adata, tissues, tissue=3)
    with scim.atlas.create(tmp_path / "bare.scim", model=fakes.tiny_model()) as atlas:
        atlas.append(fakes.cells(60, seed=2), study="one", label_key="cell_type")
        atlas.build_index()
        with pytest.raises(ValueError, match=r"no tissues of the atlas. Present: \[\]"):
            scim.tl.annotate(adata, atlas, tissue="blood")
