"""Mouse cells are embedded, searched and explained like human cells with the same counts of the orthologs."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes


@pytest.fixture
def cells():
    """The same cells with genes of a mouse and of a human."""
    return fakes.of_a_mouse(fakes.cells(45, seed=9))


def test_both_have_the_same_embeddings(cells, atlas_path):
    mouse, human = cells
    assert human.n_vars > 80
    scim.tl.embed(mouse, atlas_path, species="mouse")
    scim.tl.embed(human, atlas_path)
    np.testing.assert_allclose(mouse.obsm["X_scim"], human.obsm["X_scim"], atol=1e-6)
    note = mouse.uns["scim"]["X_scim"]
    assert note["species"] == "mouse"
    assert (note["n_genes_shared"], note["n_genes_mapped"]) == (human.n_vars, human.n_vars + 1)
    assert note["mapped_share"] == pytest.approx((human.n_vars + 1) / (human.n_vars + 2), abs=1e-4)
    assert human.uns["scim"]["X_scim"]["species"] == "human"
    assert "mapped_share" not in human.uns["scim"]["X_scim"]


def test_a_streamed_file_has_the_same_embeddings(cells, atlas_path, tmp_path):
    mouse, _ = cells
    mouse.write_h5ad(tmp_path / "mouse.h5ad")
    backed = anndata.read_h5ad(tmp_path / "mouse.h5ad", backed="r")
    scim.tl.embed(backed, atlas_path, species="mouse")
    scim.tl.embed(mouse, atlas_path, species="mouse")
    np.testing.assert_array_equal(backed.obsm["X_scim"], mouse.obsm["X_scim"])


def test_the_stored_mapping_suffices_for_groups_and_genes(cells, atlas_path, tmp_path):
    mouse, human = cells
    scim.tl.embed(mouse, atlas_path, species="mouse")
    scim.tl.embed(human, atlas_path)
    mouse.write_h5ad(tmp_path / "mouse.h5ad")
    mouse = anndata.read_h5ad(tmp_path / "mouse.h5ad")
    for adata in (mouse, human):
        scim.tl.search(adata, atlas_path, groupby="cell_type", k=5)
        scim.tl.explain(adata, atlas_path, groupby="cell_type", n_pairs=10)
    for key in ("ids", "distances"):
        np.testing.assert_allclose(mouse.uns["scim_search"][key], human.uns["scim_search"][key], atol=1e-6)
    np.testing.assert_allclose(mouse.uns["scim_explain"]["mean"], human.uns["scim_explain"]["mean"], atol=1e-5)
    assert mouse.uns["scim_explain"]["params"]["species"] == "mouse"
    near = [scim.tl.score_similarity(adata, "cell_type", atlas_path) for adata in (mouse, human)]
    pd.testing.assert_frame_equal(*near, atol=1e-5)


def test_a_mapping_must_be_given_again(cells, atlas_path):
    mouse, human = cells
    mapping = dict(zip(mouse.var_names, [*human.var_names, "RPS27", None], strict=True))
    scim.tl.embed(mouse, atlas_path, species=mapping)
    scim.tl.embed(human, atlas_path)
    np.testing.assert_allclose(mouse.obsm["X_scim"], human.obsm["X_scim"], atol=1e-6)
    assert mouse.uns["scim"]["X_scim"]["species"] == "mapping"
    again = "made with a mapping of genes, .*pass the same species= again"
    with pytest.raises(ValueError, match=again):
        scim.tl.search(mouse, atlas_path, groupby="cell_type", k=5)
    with pytest.raises(ValueError, match=again):
        scim.tl.score_similarity(mouse, "cell_type", atlas_path)
    with pytest.raises(ValueError, match=again):
        scim.tl.explain(mouse, atlas_path, groupby="cell_type", n_pairs=10)
    scim.tl.search(mouse, atlas_path, groupby="cell_type", k=5, species=mapping)
    scim.tl.search(human, atlas_path, groupby="cell_type", k=5)
    np.testing.assert_array_equal(mouse.uns["scim_search"]["ids"], human.uns["scim_search"]["ids"])
    scim.tl.search(mouse, atlas_path, k=5)  # of the embedding, without counts
    scim.tl.explain(mouse, atlas_path, groupby="cell_type", n_pairs=10, species=mapping)
    assert mouse.uns["scim_explain"]["params"]["species"] == "mapping"
