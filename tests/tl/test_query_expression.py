"""The counts of a query, found again and brought into the order of the genes of an atlas."""

from __future__ import annotations

from types import SimpleNamespace

import anndata
import numpy as np
import pytest
from scipy import sparse

import scim
from helpers import fakes
from scim.tl._expression import query_expression, whole_counts


@pytest.fixture
def transfer(adata):
    """What is read of a label transfer: the genes of its statistics, all but the first ten, and one more."""
    genes = np.append(scim.pp.canonical_genes(adata.var_names)[:9:-1], "ENSG00000999999")
    return SimpleNamespace(expression=SimpleNamespace(genes=genes))


def test_columns_are_genes_of_the_statistics(adata, transfer):
    found = query_expression(adata, transfer, "X_scim")
    np.testing.assert_array_equal(found.rows(7, 9).toarray(), adata.X[7:9].toarray())
    assert found.n_obs == 45
    assert found.names.tolist() == scim.pp.canonical_genes(adata.var_names).tolist()
    assert found.genes.n_matched == adata.n_vars - 10


def test_columns_of_one_gene_are_summed(adata, transfer):
    adata.var["symbol"] = adata.var_names.to_numpy()
    columns = [*range(adata.n_vars), 20]
    var = adata.var.iloc[columns].set_axis([f"row {i}" for i in range(len(columns))])
    twice = anndata.AnnData(adata.X[:, columns], obs=adata.obs, var=var, uns=adata.uns)
    twice.uns["scim"]["X_scim"]["gene_key"] = "symbol"
    found = query_expression(twice, transfer, "X_scim")
    expected = np.column_stack([adata.X.toarray()[:, :9:-1], np.zeros(45)])
    expected[:, 110 - 20] *= 2
    np.testing.assert_array_equal(found.rows(0, 45).toarray(), expected)
    assert found.names.tolist() == [*transfer.expression.genes[:-1], ""]


def test_the_layer_and_the_species_are_those_of_the_embedding(atlas_path):
    mouse, human = fakes.of_a_mouse(fakes.cells(12))
    mouse.layers["mine"], mouse.X = mouse.X.copy(), None
    scim.tl.embed(mouse, atlas_path, layer="mine", species="mouse")
    genes = scim.pp.canonical_genes(human.var_names)
    found = query_expression(mouse, SimpleNamespace(expression=SimpleNamespace(genes=genes)), "X_scim")
    np.testing.assert_allclose(found.rows(0, 12).toarray(), human.X.toarray())


def test_counts_that_were_lognormalised_in_place_are_counts_again(adata, transfer):
    expected = query_expression(adata, transfer, "X_scim").rows(0, 45).toarray()
    adata.X = sparse.csr_matrix(np.log1p(adata.X.toarray() * 1e4 / adata.X.sum(axis=1)))
    found = query_expression(adata, transfer, "X_scim").rows(0, 45).toarray()  # no warning a second time
    has_one = (np.where(expected > 0, expected, np.inf).min(axis=1) == 1).sum()
    assert has_one == 45
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_whole_counts_of_empty_rows_and_stored_zeros():
    X = sparse.csr_matrix((np.float32([0.5, 1.5, 0, 0, 0.2]), [0, 1, 2, 0, 1], [0, 3, 3, 4, 5, 5]), shape=(5, 3))
    assert whole_counts(X).toarray().tolist() == [[1, 3, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert whole_counts(sparse.csr_matrix((3, 2), dtype=np.float32)).nnz == 0


def scaled(adata):
    adata.X = adata.X.toarray() - 1.5


def few_genes(adata):
    adata._inplace_subset_var(adata.var_names[:11])  # one of them is in the statistics


def foreign(adata):
    del adata.uns["scim"]


def mapped(adata):
    adata.uns["scim"]["X_scim"]["species"] = "mapping"


def no_layer(adata):
    adata.uns["scim"]["X_scim"]["layer"] = "gone"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (scaled, "X has negative values"),
        (few_genes, "Only 1 of the model's"),
        (foreign, "the embedding was not made by scim.tl.embed"),
        (mapped, "scim.tl.embed was given a mapping of genes, which is not kept"),
        (no_layer, "layer='gone' not found"),
    ],
)
def test_the_reason_is_logged(adata, transfer, caplog, change, reason):
    change(adata)
    with caplog.at_level("INFO", logger="scim"):
        assert query_expression(adata, transfer, "X_scim") is None
    assert f"the expression of the genes is not used: {reason}" in caplog.text


def test_an_atlas_without_statistics(adata, caplog):
    with caplog.at_level("INFO", logger="scim"):
        assert query_expression(adata, SimpleNamespace(expression=None), "X_scim") is None
    assert "the atlas has no expression statistics" in caplog.text
