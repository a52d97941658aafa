from __future__ import annotations

import anndata
import numpy as np
import pytest
from scipy import sparse

import scim
from helpers import fakes
from scim._core import ScimWarning


def test_rows_are_those_of_the_dense_net(atlas_path):
    import torch

    adata, model = fakes.cells(30), fakes.tiny_model()
    scim.tl.embed(adata, atlas_path)
    counts = adata.X.toarray()
    x = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    model.encoder.eval()
    with torch.inference_mode():
        expected = model.encoder(torch.from_numpy(x.astype(np.float32))).numpy()
    np.testing.assert_allclose(adata.obsm["X_scim"], expected, atol=1e-5)
    assert adata.obsm["X_scim"].dtype == np.float32


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_the_form_of_the_matrix_does_not_matter(adata, atlas_path, form, dtype):
    other = anndata.AnnData(form(adata.X.toarray().astype(dtype)), obs=adata.obs, var=adata.var)
    scim.tl.embed(other, atlas_path)
    np.testing.assert_allclose(other.obsm["X_scim"], adata.obsm["X_scim"], atol=1e-6)


def test_shuffled_ensembl_ids_with_versions_give_the_same_rows(adata, atlas_path):
    other = adata.copy()
    other.var_names = [f"{gene}.7" for gene in scim.pp.canonical_genes(adata.var_names)]
    other = other[:, np.random.default_rng(0).permutation(other.n_vars)].copy()
    scim.tl.embed(other, atlas_path)
    np.testing.assert_allclose(other.obsm["X_scim"], adata.obsm["X_scim"], atol=1e-6)
    record = other.uns["scim"]["X_scim"]
    assert (record["gene_names"], record["n_genes_shared"], record["gene_share"]) == ("ensembl", adata.n_vars, 1.0)


def test_lognormalised_cells_give_the_same_rows_with_a_warning(adata, atlas_path):
    other = adata.copy()
    total = np.asarray(other.X.sum(axis=1))
    other.X = sparse.csr_matrix(np.log1p(other.X.toarray() * 5000 / total))
    with pytest.warns(ScimWarning, match="logarithm undone"):
        scim.tl.embed(other, atlas_path)
    np.testing.assert_allclose(other.obsm["X_scim"], adata.obsm["X_scim"], atol=1e-5)


def test_views_and_backed_files(adata, atlas_path, tmp_path):
    view = adata[10:20]
    embedded = scim.tl.embed(view, atlas_path, copy=True)
    np.testing.assert_allclose(embedded.obsm["X_scim"], adata.obsm["X_scim"][10:20], atol=1e-6)
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    scim.tl.embed(backed, atlas_path, key_added="X_again")
    np.testing.assert_array_equal(backed.obsm["X_again"], adata.obsm["X_scim"])


def test_a_backed_file_cannot_be_copied_or_cut(adata, atlas_path, tmp_path):
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"copy=True of a backed AnnData cannot be written; call adata.to_memory\(\)"):
        scim.tl.embed(backed, atlas_path, copy=True)
    with pytest.raises(ValueError, match="a view of a backed AnnData"):
        scim.tl.annotate(backed[:10], atlas_path)
    scim.tl.annotate(backed, atlas_path)
    scim.tl.search(backed, atlas_path, groupby="cell_type", k=3)
    assert len(scim.get.hits(backed, only_similar=False)) == 9


def test_copy_and_key_added(adata, atlas_path):
    before = adata.copy()
    other = scim.tl.embed(adata, atlas_path, key_added="X_mine", copy=True)
    assert "X_mine" in other.obsm
    assert "X_mine" not in adata.obsm
    assert set(other.uns["scim"]) == {"X_scim", "X_mine"}
    assert adata.uns == before.uns
    assert scim.tl.embed(adata, atlas_path) is None


def test_a_model_in_place_of_an_atlas(adata, atlas_path):
    for model in (fakes.tiny_model(), atlas_path / "model"):
        other = scim.tl.embed(adata, model=model, copy=True)
        np.testing.assert_array_equal(other.obsm["X_scim"], adata.obsm["X_scim"])


def test_settings_and_environment_name_the_atlas(adata, atlas_path, monkeypatch):
    monkeypatch.setattr(scim.settings, "atlas", str(atlas_path))
    other = scim.tl.embed(adata, key_added="X_2", copy=True)
    np.testing.assert_array_equal(other.obsm["X_2"], adata.obsm["X_scim"])
    monkeypatch.setenv("SCIM_ATLAS", "somewhere")
    from scim._core import Settings

    assert Settings().atlas == "somewhere"


def test_cells_without_counts_are_zero_and_unknown(adata, atlas_path):
    X = adata.X.toarray()
    X[3] = 0
    adata.X = X
    with pytest.warns(ScimWarning, match="1 cells have no count"):
        scim.tl.embed(adata, atlas_path)
    assert not adata.obsm["X_scim"][3].any()
    scim.tl.annotate(adata, atlas_path, max_error=1)
    assert adata.obs["scim_label"].isna().to_numpy().nonzero()[0].tolist() == [3]


def test_memory_of_the_input_is_not_touched(adata, atlas_path):
    before = adata.X.copy()
    scim.tl.embed(adata, atlas_path)
    assert (before != adata.X).nnz == 0
