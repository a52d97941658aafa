"""The transformer against scikit-learn's, and Scanpy's own graph of neighbours."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier, KNeighborsTransformer
from sklearn.pipeline import make_pipeline

import scim
from helpers import oracles
from scim.index import NeighborsTransformer

from .conftest import ATOL, clusters


@pytest.fixture(scope="module")
def rows():
    return oracles.unit(clusters(150))


@pytest.fixture(scope="module")
def pbmc():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anndata, on the age of the file
        adata = sc.datasets.pbmc68k_reduced()
    return np.ascontiguousarray(adata.obsm["X_pca"][:, :20])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("kind", ["auto", "exact", "ivf", "graph"])
def test_as_scikit_learns(rows, kind, metric):
    ours = NeighborsTransformer(7, metric=metric, kind=kind, recall=0.999)
    theirs = KNeighborsTransformer(n_neighbors=7, metric=metric, algorithm="brute")
    found, expected = ours.fit_transform(rows), theirs.fit_transform(rows)
    assert (type(found), found.shape, found.dtype) == (sparse.csr_matrix, (150, 150), np.float32)
    assert (np.diff(found.indptr) == 8).all()
    assert (found.indices[::8] == np.arange(150)).all()
    assert (found.data[::8] == 0).all()
    assert (np.diff(found.data.reshape(150, 8), axis=1) >= 0).all()
    np.testing.assert_allclose(found.toarray(), expected.toarray(), atol=1e-3 if metric == "euclidean" else ATOL)
    queries = oracles.unit(clusters(20, seed=1))
    found, expected = ours.transform(queries), theirs.transform(queries)
    assert found.shape == (20, 150)
    np.testing.assert_allclose(found.toarray(), expected.toarray(), atol=ATOL)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_graph_of_scanpy(pbmc, metric):
    X = oracles.unit(pbmc) if metric == "euclidean" else pbmc
    ours, theirs = (AnnData(np.zeros((700, 1), np.float32), obsm={"X_pca": X}) for _ in range(2))
    sc.pp.neighbors(theirs, n_neighbors=15, use_rep="X_pca", metric=metric)
    sc.pp.neighbors(ours, use_rep="X_pca", transformer=NeighborsTransformer(n_neighbors=15, metric=metric))
    assert ours.uns["neighbors"]["params"]["n_neighbors"] == 15
    np.testing.assert_allclose(
        ours.obsp["connectivities"].toarray(), theirs.obsp["connectivities"].toarray(), atol=1e-4
    )
    nearest = ours.obsp["distances"].indices.reshape(700, 16)[:, 1:15]  # Scanpy counts the cell itself
    assert (np.sort(nearest) == np.sort(theirs.obsp["distances"].indices.reshape(700, 14))).mean() > 0.999


def test_a_row_comes_before_its_duplicates(rows):
    repeated = np.concatenate([rows[[3] * 20], rows])
    for kind in ("exact", "ivf"):
        graph = NeighborsTransformer(4, kind=kind).fit_transform(repeated)
        assert (graph.indices[::5] == np.arange(170)).all()
        assert (graph.data.reshape(170, 5)[:20] == 0).all()
        assert all(len({*ids}) == 5 for ids in graph.indices.reshape(170, 5))


def test_short_rows_and_rows_of_zeros():
    X = np.array([[0, 0], [1e-6, 0], [0, 5], [3, 3]])
    transformer = NeighborsTransformer(1, metric="cosine")
    graph = transformer.fit_transform(X)
    assert graph.indices.reshape(4, 2).tolist() == [[0, 0], [1, 3], [2, 3], [3, 1]]
    np.testing.assert_allclose(graph.data.reshape(4, 2)[:, 1], [0, 1 - 0.5**0.5, 1 - 0.5**0.5, 1 - 0.5**0.5], atol=1e-6)
    found = transformer.transform(X[[1, 0, 2]])
    assert found.indptr.tolist() == [0, 2, 2, 4]
    assert found.indices.tolist() == [1, 3, 2, 3]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_graph_of_scanpy_links_no_row_of_zeros(pbmc, metric):
    X = oracles.unit(pbmc)[:200]
    with_zeros = np.insert(X, [0, 90, 200], 0, axis=0)
    zero = ~with_zeros.any(axis=1)
    plain, more = (AnnData(np.zeros((len(rows), 1), np.float32), obsm={"E": rows}) for rows in (X, with_zeros))
    for adata in (plain, more):
        sc.pp.neighbors(adata, use_rep="E", transformer=NeighborsTransformer(15, metric=metric))
    links = more.obsp["connectivities"].toarray()
    assert not links[zero].any()
    np.testing.assert_array_equal(links[~zero][:, ~zero], plain.obsp["connectivities"].toarray())


def test_in_a_pipeline(rows):
    labels = rows[:, 0] > 0
    plain = KNeighborsClassifier(5).fit(rows, labels)
    ours = make_pipeline(NeighborsTransformer(5), KNeighborsClassifier(5, metric="precomputed")).fit(rows, labels)
    queries = oracles.unit(clusters(40, seed=2))
    np.testing.assert_array_equal(ours.predict(queries), plain.predict(queries))


def test_parameters():
    transformer = NeighborsTransformer(9, metric="cosine", kind="ivf", recall=0.9, rng=1, n_threads=1)
    expected = {"n_neighbors": 9, "metric": "cosine", "kind": "ivf", "recall": 0.9, "rng": 1, "n_threads": 1}
    assert transformer.get_params() == clone(transformer).get_params() == expected
    assert transformer.set_params(n_neighbors=3).n_neighbors == 3
    X = clusters(60)
    fitted = transformer.fit(X)
    assert fitted is transformer
    assert (fitted.neighbors_index_.kind, fitted.neighbors_index_.params["recall"]) == ("ivf", 0.9)
    assert transformer.set_params(recall=1).fit(X).neighbors_index_.kind == "exact"


@pytest.mark.parametrize(
    ("params", "change", "error", "match"),
    [
        ({"n_neighbors": 0}, {}, ValueError, "n_neighbors must be at least 1, got 0"),
        ({"n_neighbors": 2.5}, {}, TypeError, "n_neighbors must be a whole number, got 2.5"),
        ({"n_neighbors": 10}, {}, ValueError, "n_neighbors=10 needs more rows than that, got 10; pass fewer"),
        ({"metric": "manhattan"}, {}, ValueError, r"metric must be one of \['euclidean', 'cosine'\], got 'manhattan'"),
        ({"kind": "hnsw"}, {}, ValueError, "kind must be one of"),
        ({"recall": 0}, {}, ValueError, "recall must be above 0"),
        ({}, {"X": 2 * np.eye(10)}, ValueError, "10 of 10 have not, row 0 has length 2. Scale them, or pass metric='c"),
        ({}, {"X": np.vstack([np.eye(9), np.zeros(9)])[-4:]}, ValueError, "got 3 that are not zero, of 4; pass fewer"),
        ({}, {"X": np.eye(10) * np.nan}, ValueError, "metric='euclidean' needs rows of length 1|NaN"),
        ({"metric": "cosine"}, {"X": np.full((10, 3), np.nan)}, ValueError, "NaN or infinity"),
        ({}, {"X": sparse.eye_array(10).tocsr()}, TypeError, r"must be a dense array, got csr_array; pass X.toarray"),
        ({}, {"X": np.eye(10, dtype=int)}, TypeError, "must be float16, float32, float64, got int"),
        ({}, {"X": np.ones(10)}, ValueError, r"must be a matrix \(rows, dim\), got shape \(10,\)"),
    ],
)  # fmt: skip
def test_errors(params, change, error, match):
    X = change.get("X", np.eye(10))
    with pytest.raises(error, match=match):
        NeighborsTransformer(**{"n_neighbors": 3, **params}).fit_transform(X)


def test_errors_of_transform():
    with pytest.raises(NotFittedError, match="NeighborsTransformer instance is not fitted yet"):
        NeighborsTransformer().transform(np.eye(3))
    with pytest.raises(ValueError, match="Expected rows of 20 columns, as the fitted ones, got 3"):
        NeighborsTransformer(3).fit(np.eye(20)).transform(np.eye(3))
    with pytest.raises(AttributeError, match="module 'scim.index' has no attribute 'Transformer'"):
        scim.index.Transformer  # noqa: B018
