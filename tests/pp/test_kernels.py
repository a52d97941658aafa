from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scim.pp._kernels import align_rows

N_GENES = 12


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


def aligned(X: sparse.csr_matrix, columns: np.ndarray, **kwargs) -> sparse.csr_matrix:
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
    got = aligned(counts, columns)
    for i in range(got.shape[0]):
        genes = got.indices[got.indptr[i] : got.indptr[i + 1]]
        assert np.unique(genes).size == genes.size


def test_align_leaves_its_input_alone(counts, columns):
    before = counts.copy()
    aligned(counts, columns)
    np.testing.assert_array_equal(counts.toarray(), before.toarray())


@pytest.mark.parametrize("rows", [slice(0, 0), slice(4, 5)])
def test_align_of_nothing_is_empty(counts, columns, rows):
    got = aligned(counts[rows], columns)
    assert got.nnz == 0
    assert got.shape == (counts[rows].shape[0], N_GENES)


def test_align_without_a_known_column_is_empty(counts):
    assert aligned(counts, np.full(17, -1)).nnz == 0


def test_align_without_shared_genes_is_the_same(counts):
    columns = np.array([2, -1, 0, 5, 10, 1, -1, 3, 4, 11, -1, 6, 7, -1, 8, 9, -1])
    np.testing.assert_array_equal(aligned(counts, columns).toarray(), aligned_oracle(counts.toarray(), columns))
