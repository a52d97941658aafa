from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import scim
from scim.pp._align import align_rows
from scim.pp._match import GeneMap

N_GENES = 12


def gene_map(columns: np.ndarray, n_genes: int) -> GeneMap:
    observed = np.zeros(n_genes, dtype=bool)
    observed[columns[columns >= 0]] = True
    return GeneMap(np.array([], dtype=object), columns.astype(np.int32), observed, "var_names", "symbol")


def dense_align(X: np.ndarray, columns: np.ndarray, n_genes: int) -> np.ndarray:
    out = np.zeros((len(X), n_genes))
    for j, gene in enumerate(columns):
        if gene >= 0:
            out[:, gene] += X[:, j]
    return out


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 30), st.integers(1, 25))
def test_align_sums_drops_and_moves_columns(seed, n, n_vars, n_genes):
    random = np.random.default_rng(seed)
    X = random.poisson(0.7, size=(n, n_vars)).astype(np.float32)
    columns = random.integers(-1, n_genes, n_vars)
    aligned = scim.pp.align(sparse.csr_matrix(X), gene_map(columns, n_genes))
    assert aligned.shape == (n, n_genes)
    np.testing.assert_array_equal(aligned.toarray(), dense_align(X, columns, n_genes))


def test_values_stored_twice_are_one_value():
    X = sparse.csr_matrix((np.array([1, 2, 4], np.float32), np.array([3, 3, 1]), np.array([0, 2, 3])), shape=(2, 8))
    aligned = scim.pp.align(X, gene_map(np.arange(8), 8))
    assert aligned.nnz == 2
    np.testing.assert_array_equal(aligned.toarray(), X.toarray())


def test_lognorm_by_hand():
    X = sparse.csr_matrix(np.array([[1.0, 3.0, 0.0], [0.0, 0.0, 0.0]], dtype=np.float32))
    result = scim.pp.lognorm(X, 1e4).toarray()
    np.testing.assert_allclose(result, [[np.log(2501), np.log(7501), 0], [0, 0, 0]], rtol=1e-6)


def test_lognorm_leaves_its_input_alone():
    X = sparse.csr_matrix(np.array([[1.0, 3.0]], dtype=np.float32))
    scim.pp.lognorm(X)
    np.testing.assert_array_equal(X.toarray(), [[1, 3]])


def test_normalised_over_the_models_genes_only():
    adata = anndata.AnnData(np.array([[5.0, 5.0, 90.0]], np.float32), var=pd.DataFrame(index=["CD3E", "CD4", "junk"]))
    genes = scim.pp.match_genes(adata.var, scim.pp.canonical_genes(["CD3E", "CD4"]))
    (chunk,) = scim.pp.lognorm_chunks(scim.pp.find_counts(adata), genes, target_sum=1e4)
    np.testing.assert_allclose(chunk.X.toarray(), np.log1p([[5000.0, 5000.0]]), rtol=1e-6)


def test_chunks_cover_all_cells_in_order():
    values = np.random.default_rng(0).poisson(1.0, size=(40_000, 3)).astype(np.float32)
    values[:, 0] += 1
    names = ["CD3E", "CD4", "CD8A"]
    adata = anndata.AnnData(sparse.csr_matrix(values), var=pd.DataFrame(index=names))
    genes = scim.pp.match_genes(adata.var, scim.pp.canonical_genes(names))
    chunks = list(scim.pp.lognorm_chunks(scim.pp.find_counts(adata), genes, target_sum=10.0))
    assert len(chunks) > 1
    assert [c.rows.start for c in chunks] == [0, *(c.rows.stop for c in chunks[:-1])]
    joined = sparse.vstack([c.X for c in chunks]).toarray()
    np.testing.assert_allclose(joined, np.log1p(10 * values / values.sum(axis=1, keepdims=True)), rtol=1e-5)


def test_chosen_rows_are_those_of_all(monkeypatch):
    monkeypatch.setattr("scim.pp._align._BLOCK_ROWS", 8)
    counts = scim.pp.find_counts(scim.datasets.toy(50))
    genes = scim.pp.match_genes(counts.var, scim.pp.canonical_genes(counts.var.index[10:90]))
    (chunk,) = scim.pp.lognorm_chunks(counts, genes)
    for rows in ([0], [7, 8], [3, 4, 5, 31, 40, 49], np.arange(50)):
        found = scim.pp.lognorm_rows(counts, genes, np.array(rows))
        np.testing.assert_array_equal(found.toarray(), chunk.X[rows].toarray())


@pytest.fixture
def counts() -> sparse.csr_matrix:
    rng = np.random.default_rng(0)
    dense = rng.poisson(0.6, (23, 17)) * rng.choice([1, 1, 30], (23, 17))
    dense[[4, 11]] = 0
    return sparse.csr_matrix(dense.astype(np.float32))


@pytest.fixture
def columns() -> np.ndarray:
    """Columns 3, 4 and 9 are the same gene; five are no gene; genes 10 and 11 have no column."""
    return np.array([2, -1, 0, 5, 5, 1, -1, 3, 4, 5, -1, 6, 7, -1, 8, 9, -1])


def aligned_oracle(dense: np.ndarray, columns: np.ndarray) -> np.ndarray:
    out = np.zeros((dense.shape[0], N_GENES))
    for column, gene in enumerate(columns):
        if gene >= 0:
            out[:, gene] += dense[:, column]
    return out


def aligned_rows(X: sparse.csr_matrix, columns: np.ndarray, **kwargs) -> sparse.csr_matrix:
    indptr, indices, data = align_rows(X.indptr, X.indices, X.data, columns, N_GENES, **kwargs)
    return sparse.csr_matrix((data, indices, indptr), shape=(X.shape[0], N_GENES))


@pytest.mark.parametrize("n_threads", [1, 2, 5, 40])
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_align_is_the_dense_sum(counts, columns, dtype, index, n_threads):
    X = counts.astype(dtype)
    indptr, indices, data = align_rows(
        X.indptr.astype(index), X.indices.astype(index), X.data, columns, N_GENES, n_threads=n_threads
    )
    assert (indptr.dtype, indices.dtype, data.dtype) == (np.int64, np.int32, np.float32)
    got = sparse.csr_matrix((data, indices, indptr), shape=(X.shape[0], N_GENES))
    np.testing.assert_array_equal(got.toarray(), aligned_oracle(X.toarray(), columns))


def test_align_names_a_gene_once_a_row(counts, columns):
    got = aligned_rows(counts, columns)
    for i in range(got.shape[0]):
        genes = got.indices[got.indptr[i] : got.indptr[i + 1]]
        assert np.unique(genes).size == genes.size


def test_align_leaves_its_input_alone(counts, columns):
    before = counts.copy()
    aligned_rows(counts, columns)
    np.testing.assert_array_equal(counts.toarray(), before.toarray())


@pytest.mark.parametrize("rows", [slice(0, 0), slice(4, 5)])
def test_align_of_nothing_is_empty(counts, columns, rows):
    got = aligned_rows(counts[rows], columns)
    assert got.nnz == 0
    assert got.shape == (counts[rows].shape[0], N_GENES)


def test_align_without_a_known_column_is_empty(counts):
    assert aligned_rows(counts, np.full(17, -1)).nnz == 0


def test_align_without_shared_genes_is_the_same(counts):
    columns = np.array([2, -1, 0, 5, 10, 1, -1, 3, 4, 11, -1, 6, 7, -1, 8, 9, -1])
    np.testing.assert_array_equal(aligned_rows(counts, columns).toarray(), aligned_oracle(counts.toarray(), columns))
