from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import scim
from scim._core import CountsError, GeneOverlapError, ScimWarning
from scim.scimilarity.utils import (
    align_dataset,
    consolidate_duplicate_symbols,
    convert_id2symbol,
    filter_cells,
    get_centroid,
    get_cluster_centroids,
    get_dist2centroid,
    lognorm_counts,
    pseudobulk_anndata,
)

COUNTS = np.array([[1, 0, 2, 7], [0, 0, 3, 1], [4, 5, 0, 0]], dtype=np.float32)
GENES = ["CD3E", "MT-CO1", "LYZ", "not a gene"]
ORDER = ["LYZ", "CD19", "CD3E"]


def small(counts=COUNTS, genes=GENES, form=sparse.csr_matrix):
    adata = anndata.AnnData(form(counts.copy()), obs=pd.DataFrame(index=["a", "b", "c"]), var=pd.DataFrame(index=genes))
    adata.layers["counts"] = form(counts.copy())
    adata.obsm["X_umap"] = np.arange(6.0).reshape(3, 2)
    return adata


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, np.asarray])
def test_align_by_hand(form):
    adata = small(form=form)
    aligned = align_dataset(adata, ORDER, gene_overlap_threshold=2)
    assert aligned.var_names.tolist() == ORDER
    assert aligned.obs_names.tolist() == ["a", "b", "c"]
    expected = [[2, 0, 1], [3, 0, 0], [0, 0, 4]]
    for matrix in (aligned.X, aligned.layers["counts"]):
        assert isinstance(matrix, sparse.csr_matrix)
        assert matrix.has_sorted_indices
        np.testing.assert_array_equal(matrix.toarray(), expected)
    assert aligned.uns["orig_genes"].tolist() == GENES
    np.testing.assert_array_equal(aligned.obsm["X_umap"], adata.obsm["X_umap"])
    assert "X_umap" not in align_dataset(adata, ORDER, keep_obsm=False, gene_overlap_threshold=2).obsm
    assert adata.var_names.tolist() == GENES
    assert "orig_genes" not in adata.uns


def test_aligned_data_are_returned():
    adata = small()[:, [2, 0]].copy()
    assert align_dataset(adata, ["LYZ", "CD3E"]) is adata
    dense = small(form=np.asarray)[:, [2, 0]].copy()
    again = align_dataset(dense, ["LYZ", "CD3E"])
    assert isinstance(again.X, sparse.csr_matrix)
    assert isinstance(dense.X, np.ndarray)
    np.testing.assert_array_equal(again.X.toarray(), dense.X)
    np.testing.assert_array_equal(again.obsm["X_umap"], dense.obsm["X_umap"])


def test_align_without_X():
    adata = small()
    adata.X = None
    aligned = align_dataset(adata, ORDER, gene_overlap_threshold=2)
    assert aligned.X.shape == (3, 3)
    assert aligned.X.nnz == 0
    assert aligned.layers["counts"].sum() == 10


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_align_refuses():
    with pytest.raises(GeneOverlapError, match="Only 2 genes in common with the model's 3, expected at least 3"):
        align_dataset(small(), ORDER, gene_overlap_threshold=3)
    with pytest.raises(GeneOverlapError, match=r"got \['x', 'y', 'z'\]; convert_id2symbol"):
        align_dataset(small(genes=["x", "y", "z", "w"]), ORDER)  # of a small model half of the genes are needed
    repeated = small(genes=["CD3E", "LYZ", "LYZ", "x"])
    with pytest.raises(ValueError, match=r"1 genes have several columns, as 'LYZ'; call consolidate_duplicate_symbols"):
        align_dataset(repeated, ORDER)
    adata = small()
    adata.layers["counts"] = -adata.X
    with pytest.raises(CountsError, match=r"layers\['counts'\] has negative values \(lowest -7\)"):
        align_dataset(adata, GENES)
    with pytest.raises(CountsError, match=r"^X has negative values"):
        align_dataset(small(-COUNTS), GENES)


def test_lognorm_is_scanpys():
    adata = scim.datasets.toy(30)
    adata.layers["counts"] = adata.X.copy()
    expected = adata.copy()
    sc.pp.normalize_total(expected, target_sum=1e4)
    sc.pp.log1p(expected)
    adata.X = None
    assert lognorm_counts(adata) is adata
    np.testing.assert_allclose(adata.X.toarray(), expected.X.toarray(), rtol=1e-5)
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), scim.datasets.toy(30).X.toarray())


def test_lognorm_of_odd_counts():
    adata = small(form=np.asarray)
    adata.layers["counts"][0, 0] = np.nan
    adata.layers["counts"][1] = 0
    with pytest.warns(ScimWarning, match=r"1 values of layers\['counts'\] are NaN"):
        lognorm_counts(adata)
    found = adata.X.toarray()
    np.testing.assert_allclose(found[0], np.log1p(1e4 * np.array([0, 0, 2, 7]) / 9), rtol=1e-6)
    assert not found[1].any()
    with pytest.raises(ValueError, match=r"layers\['counts'\] not found"):
        lognorm_counts(scim.datasets.toy(3))


@pytest.mark.parametrize("form", [sparse.csr_matrix, np.asarray])
def test_filter_cells_by_hand(form):
    adata = small(form=form)  # mitochondrial: 0, 0, 5 of 9
    kept = filter_cells(adata, min_genes=2)
    assert kept.obs_names.tolist() == ["a", "b"]
    assert kept.obs["n_genes_by_counts"].tolist() == [3, 2]
    assert kept.obs["pct_counts_mt"].tolist() == [0, 0]
    assert kept.var["mt"].tolist() == [False, True, False, False]
    assert filter_cells(adata, min_genes=0, mito_percent=60).n_obs == 3
    assert filter_cells(adata, min_genes=3, mito_percent=100).obs_names.tolist() == ["a"]
    assert filter_cells(adata, min_genes=0, mito_prefix="LY").obs_names.tolist() == ["a", "c"]  # 20 %, 75 %, 0 %
    assert "mt" not in adata.var
    assert "pct_counts_mt" not in adata.obs


def test_ids_to_symbols(tmp_path):
    table = tmp_path / "genes.tsv"
    table.write_text("Gene stable ID\tother\tGene name\nENSG1\tx\tLYZ\nENSG2\tx\tCD19\nENSG3\tx\t\n")
    adata = small(genes=["'ENSG1'", "CD19", "ENSG3", "ENSG4"])
    found = convert_id2symbol(adata, table)
    assert found.var_names.tolist() == ["LYZ", "CD19"]
    np.testing.assert_array_equal(found.X.toarray(), COUNTS[:, :2])
    known = convert_id2symbol(small(genes=["ENSG00000198851.11", "LYZ", "no gene", "x"]))
    assert known.var_names.tolist() == ["CD3E", "LYZ"]
    column = small(genes=["1", "2", "3", "4"])
    column.var["symbol"] = ["LYZ", "CD19", "x", "y"]
    assert convert_id2symbol(column).var_names.tolist() == ["LYZ", "CD19"]
    with pytest.raises(ValueError, match="has none of the genes; expected Ensembl ids, got names like"):
        convert_id2symbol(small(genes=["1", "2", "3", "4"]))
    table.write_text("id\tname\n")
    with pytest.raises(ValueError, match=r"has no column \['Gene name', 'Gene stable ID'\]"):
        convert_id2symbol(adata, table)


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_columns_of_one_symbol_are_summed():
    adata = small(genes=["LYZ", "CD19", "LYZ", "CD3E"])
    found = consolidate_duplicate_symbols(adata)
    assert found.var_names.tolist() == ["CD19", "CD3E", "LYZ"]
    expected = np.stack([COUNTS[:, 1], COUNTS[:, 3], COUNTS[:, 0] + COUNTS[:, 2]], axis=1)
    np.testing.assert_array_equal(found.layers["counts"].toarray(), expected)
    np.testing.assert_array_equal(found.X.toarray(), expected * [1, 1, 0])  # until lognorm_counts writes it
    np.testing.assert_array_equal(lognorm_counts(found).X.toarray() > 0, expected > 0)
    assert adata.shape == (3, 4)
    plain = small()
    assert consolidate_duplicate_symbols(plain) is plain


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csr_array, np.asarray])
def test_a_centroid_by_hand(form):
    found = get_centroid(form(COUNTS))
    np.testing.assert_allclose(found, np.log1p(1e4 * np.array([[5, 5, 5, 8]]) / 23), rtol=1e-12)
    assert found.dtype == np.float64
    assert found.shape == (1, 4)
    with pytest.raises(ValueError, match="got 3 cells with 0 counts in all"):
        get_centroid(form(0 * COUNTS))


def test_distances_to_a_centroid():
    X = np.array([[1.0, 0], [0, 2], [1, 1]])
    np.testing.assert_allclose(get_dist2centroid([1.0, 0], X), [0, 1, 1 - 0.5**0.5], atol=1e-12)
    np.testing.assert_allclose(get_dist2centroid(X[:1], sparse.csr_matrix(X)), [0, 1, 1 - 0.5**0.5], atol=1e-12)


def test_centroids_of_clusters_by_hand():
    adata = small()
    adata.obs["cluster"] = pd.Categorical(["x", None, "x"])
    centroids, clusters = get_cluster_centroids(adata, ORDER, "cluster")
    assert clusters == ["x"]
    np.testing.assert_allclose(centroids, np.log1p(1e4 * np.array([[2, 0, 5]]) / 7), rtol=1e-12)
    centroids, clusters = get_cluster_centroids(adata, ORDER, "cluster", skip_null=False)
    assert clusters == ["nan", "x"]
    np.testing.assert_allclose(centroids[0], np.log1p(1e4 * np.array([1, 0, 0])), rtol=1e-12)
    with pytest.raises(ValueError, match=r"no cluster 'y'. Present: \['x'\]"):
        get_cluster_centroids(adata, ORDER, "cluster", "y")
    with pytest.raises(KeyError, match=r"obs\['other'\] not found"):
        get_cluster_centroids(adata, ORDER, "other")


def test_pseudobulk_by_hand():
    adata = small()
    adata.obs["sample"], adata.obs["type"] = ["s", "s", "t"], pd.Categorical(["x", "x", "y"])
    bulk = pseudobulk_anndata(adata, ["sample", "type"])
    assert bulk.obs[["sample", "type", "cells"]].to_numpy().tolist() == [["s", "x", 2], ["t", "y", 1]]
    np.testing.assert_array_equal(bulk.layers["sum"], [COUNTS[:2].sum(0), COUNTS[2]])
    np.testing.assert_array_equal(bulk.layers["count_nonzero"], [(COUNTS[:2] > 0).sum(0), COUNTS[2] > 0])
    assert pseudobulk_anndata(adata, "sample", min_num_cells=2).obs["sample"].tolist() == ["s"]
    few = pseudobulk_anndata(adata, "sample", qc_filters={"mito_percent": 20, "min_genes": 3})
    np.testing.assert_array_equal(few.layers["sum"], COUNTS[:1])
    adata.obs["nn_dist"] = [0.5, 0.01, 0.02]
    near = pseudobulk_anndata(adata, "sample", qc_filters={})
    np.testing.assert_array_equal(near.layers["sum"], COUNTS[1:])
    adata.uns["orig_genes"] = ["CD3E", "LYZ"]
    masked = pseudobulk_anndata(adata, "type", only_orig_genes=True)
    assert np.isnan(masked.layers["sum"]).tolist() == [[False, True, False, True]] * 2


def test_pseudobulk_refuses():
    adata = small()
    adata.obs["sample"] = "s"
    with pytest.raises(KeyError, match=r"obs has no column \['donor'\]"):
        pseudobulk_anndata(adata, "donor")
    with pytest.raises(KeyError, match=r"qc_filters has no \['min_cells'\]"):
        pseudobulk_anndata(adata, "sample", qc_filters={"min_cells": 3})
    with pytest.raises(ValueError, match="No cell passes qc_filters"):
        pseudobulk_anndata(adata, "sample", qc_filters={"min_counts": 1000})
