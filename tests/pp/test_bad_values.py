"""Values and orders that no matrix of counts has are refused, and what cannot be normalised."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
from scipy import sparse

import scim
from helpers import fakes
from scim._core import CountsError, FormatError, ScimWarning


def counts(n=60, g=40):
    X = sparse.csr_matrix(np.random.default_rng(0).poisson(0.7, size=(n, g)).astype(np.float64))
    X.sort_indices()
    return X


def find(X, **how):
    return scim.pp.find_counts(anndata.AnnData(X), **how)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (1e30, r"X has values up to 1e\+30, more than any count"),
        (2.0**31, "more than any count"),
        (1e300, "NaN or infinite"),
        (1.5, "1 of .* values that are not whole, as 1.5, among counts: it is damaged, or of mixed origin"),
    ],
)
@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_a_value_that_is_no_count(value, match, form):
    X = counts()
    X.data[17] = value
    with pytest.raises(CountsError, match=match):
        find(X.toarray() if form is np.asarray else form(X))


def test_a_fraction_beyond_the_sample():
    X = sparse.csr_matrix(np.tile(counts(50).toarray(), (60, 1)))
    X.data[X.indptr[700] + 1] = 2.5  # the sample has rows from the start, the thirds and the end
    found = find(X)
    found.rows(0, 600)
    with pytest.raises(CountsError, match=r"X has 1 of .* not whole, as 2.5.* name transform='none'\."):
        found.rows(600, 800)
    assert find(X, transform="none").rows(600, 800).data.max() >= 2.5


@pytest.mark.parametrize("base", [np.nan, 0, 1, -2, "ten", b"2", np.inf, 1e300, [2, 3], np.array([2.0, 3.0]), True])
def test_a_base_that_is_none(base):
    X = counts().toarray()
    logged = anndata.AnnData(np.log1p(1e4 * X / X.sum(1, keepdims=True)) / np.log(3))
    logged.uns["log1p"] = {"base": base}
    for transform in (None, "log1p"):
        with pytest.raises(CountsError, match=r"X cannot be read: uns\['log1p'\]\['base'\] is .* a number above 1"):
            scim.pp.find_counts(logged, transform=transform)
    logged.layers["counts"] = X  # is used as it is
    assert scim.pp.find_counts(logged).source == "layers['counts']"


@pytest.mark.parametrize("base", [3, np.float32(3), np.array(3.0), np.array([3])])
def test_a_base_of_any_number_type(base):
    X = counts().toarray()
    logged = anndata.AnnData(np.log1p(1e4 * X / X.sum(1, keepdims=True)) / np.log(3))
    logged.uns["log1p"] = {"base": base}
    with pytest.warns(ScimWarning, match="log-normalised"):
        assert scim.pp.find_counts(logged, transform="log1p" if base is None else None).undo.base == pytest.approx(3)


def test_counts_that_add_up_to_almost_nothing():
    model = fakes.tiny_model()
    adata = fakes.cells(30)
    adata.X = adata.X.toarray()
    adata.X[7] *= np.float32(1e-40)
    with pytest.raises(CountsError, match=r"Cell 7 of X has values in the genes used that add up to .*e-"):
        scim.tl.embed(adata, model=model, transform="none")
    assert "X_scim" not in adata.obsm
    with pytest.raises(CountsError, match="Cell 1 of the counts"):
        scim.pp.lognorm(sparse.csr_matrix(np.array([[1, 2], [1e-41, 0]], dtype=np.float32)))


def test_one_row_out_of_order_is_damage():
    X = counts()
    start = X.indptr[20]
    X.indices[[start, start + 1]] = X.indices[[start + 1, start]]
    with pytest.raises(FormatError, match=r"X is damaged: the columns of 1 of 60 rows are not in order"):
        find(X)
    X = counts()
    X.indices[start + 1] = X.indices[start]
    with pytest.raises(FormatError, match="or one is there twice"):
        find(X)


def test_rows_that_are_all_out_of_order_are_fine():
    X = counts()
    expected = X.toarray()
    for i in range(60):
        part = slice(X.indptr[i], X.indptr[i + 1])
        X.indices[part], X.data[part] = X.indices[part][::-1].copy(), X.data[part][::-1].copy()
    X.has_sorted_indices = X.has_canonical_format = True  # a flag that lies is not believed
    np.testing.assert_array_equal(find(X).rows(0, 60).toarray(), expected)


def test_values_of_one_column_are_added_up_and_logged(caplog):
    X = counts()
    twice = sparse.csr_matrix((np.repeat(X.data, 2), np.repeat(X.indices, 2), 2 * X.indptr), shape=X.shape)
    np.testing.assert_array_equal(find(twice).rows(0, 60).toarray(), 2 * X.toarray())
    assert "X has cells with several values for one column; they are added up" in caplog.text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_embedding_that_is_not_finite_is_not_used(atlas_path, tmp_path, value):
    adata = fakes.cells(12)
    adata.obsm["X_e"] = np.random.default_rng(0).normal(size=(12, 16))
    adata.obsm["X_e"][5, 3] = value
    for tool in (scim.tl.annotate, scim.tl.search):
        with pytest.raises(ValueError, match=r"obsm\['X_e'\] has NaN or infinite values in 1 cells"):
            tool(adata, atlas_path, use_rep="X_e")
    with pytest.raises(ValueError, match="NaN or infinite"):
        scim.atlas.from_embedding(adata, tmp_path / "a.scim", obsm="X_e", study="s")
    assert set(adata.obsm) == {"X_e"}
    assert "scim_label" not in adata.obs


@pytest.mark.parametrize("factor", [1e-40, 1e300, 1e-300])
def test_the_length_of_an_embedding_may_be_anything(tmp_path, factor):
    adata = fakes.cells(12)
    adata.obsm["X_e"] = np.random.default_rng(0).normal(size=(12, 16)) * factor
    with scim.atlas.from_embedding(adata, tmp_path / "a.scim", obsm="X_e", study="s") as atlas:
        np.testing.assert_allclose(np.linalg.norm(atlas.embeddings(), axis=1), 1, atol=1e-5)
