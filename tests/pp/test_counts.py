from __future__ import annotations

import anndata
import numpy as np
import pytest
from scipy import sparse

import scim
from scim._core import CountsError, ScimWarning

FORMS = {
    "ndarray": np.asarray,
    "csr_matrix": sparse.csr_matrix,
    "csc_matrix": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
}


def counts(n: int = 30, g: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(2.0, size=(n, g)).astype(np.float32)


def lognorm(values: np.ndarray, base: float | None = None) -> np.ndarray:
    logged = np.log1p(1e4 * values / values.sum(axis=1, keepdims=True))
    return logged if base is None else logged / np.log(base)


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint16])
def test_counts_in_any_form(form, dtype):
    values = counts()
    found = scim.pp.find_counts(anndata.AnnData(FORMS[form](values.astype(dtype))))
    assert (found.source, found.kind, found.n_obs) == ("X", "counts", 30)
    part = found.rows(5, 12)
    assert part.format == "csr"
    assert part.dtype == np.float32
    np.testing.assert_array_equal(part.toarray(), values[5:12])


def test_int64_indices_are_fine():
    X = sparse.csr_matrix(counts())
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    np.testing.assert_array_equal(scim.pp.find_counts(anndata.AnnData(X)).rows(0, 30).toarray(), counts())


def test_a_layer_of_counts_precedes_X():
    adata = anndata.AnnData(lognorm(counts()), layers={"counts": counts()})
    assert scim.pp.find_counts(adata).source == "layers['counts']"


def test_counts_in_raw_precede_log_values_in_X():
    adata = anndata.AnnData(counts())
    adata.raw = adata.copy()
    adata.X = lognorm(counts())
    found = scim.pp.find_counts(adata)
    assert (found.source, found.kind) == ("raw.X", "counts")


def test_raw_is_used_without_a_warning_about_a_scaled_X():
    adata = anndata.AnnData(counts())
    adata.raw = adata.copy()
    adata.X = counts() - 1.0
    assert scim.pp.find_counts(adata).source == "raw.X"


def test_X_none_is_fine_with_a_layer():
    assert scim.pp.find_counts(anndata.AnnData(None, layers={"counts": counts()}, shape=(30, 8))).source.startswith("l")


@pytest.mark.parametrize("base", [None, 2.0])
def test_log_values_are_undone_with_a_warning(base):
    adata = anndata.AnnData(lognorm(counts(), base))
    adata.uns["log1p"] = {"base": base}
    with pytest.warns(ScimWarning, match="X looks log-normalised and is used with its logarithm undone"):
        found = scim.pp.find_counts(adata)
    expected = 1e4 * counts() / counts().sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.rows(0, 30).toarray(), expected, rtol=2e-5)
    np.testing.assert_array_equal(adata.X, lognorm(counts(), base))


def test_undoing_the_logarithm_leaves_a_sparse_input_alone():
    X = sparse.csr_matrix(lognorm(counts()).astype(np.float32))
    before = X.copy()
    with pytest.warns(ScimWarning, match="logarithm undone"):
        found = scim.pp.find_counts(anndata.AnnData(X))
    found.rows(0, 30)
    np.testing.assert_array_equal(X.toarray(), before.toarray())


def test_fractions_that_are_not_logged_are_normalised_values():
    found = scim.pp.find_counts(anndata.AnnData(counts() * 100.25))
    assert found.kind == "normalised"


def test_backed_files_are_read_by_rows(tmp_path):
    anndata.AnnData(sparse.csr_matrix(counts(3000))).write_h5ad(tmp_path / "a.h5ad")
    found = scim.pp.find_counts(anndata.read_h5ad(tmp_path / "a.h5ad", backed="r"))
    np.testing.assert_array_equal(found.rows(2990, 3000).toarray(), counts(3000)[2990:])


def bad(value: float) -> anndata.AnnData:
    values = counts()
    values[3, 3] = value
    return anndata.AnnData(values)


@pytest.mark.parametrize(
    ("adata", "message"),
    [
        (bad(-2.5), r"X has negative values \(lowest -2.5\); it looks scaled"),
        (bad(np.nan), "X has NaN or infinite values"),
        (bad(np.inf), "X has NaN or infinite values"),
        (anndata.AnnData(np.zeros((3, 4), np.float32)), "X holds only zeros"),
        (anndata.AnnData(np.zeros((0, 4), np.float32)), "got an AnnData of 0 cells x 4 genes"),
        (anndata.AnnData(np.zeros((3, 0), np.float32)), "got an AnnData of 3 cells x 0 genes"),
        (anndata.AnnData(None, shape=(3, 4)), "X is None and neither a layer of counts nor raw exists"),
    ],
)
def test_values_that_are_not_counts_are_refused(adata, message):
    with pytest.raises(CountsError, match=message):
        scim.pp.find_counts(adata)


@pytest.mark.parametrize(("layer", "message"), [("nope", "layer='nope' not found"), ("raw", "adata.raw is None")])
def test_a_layer_that_does_not_exist(layer, message):
    with pytest.raises(KeyError, match=message):
        scim.pp.find_counts(anndata.AnnData(counts()), layer)


def test_bad_values_beyond_the_sample_are_found_when_they_are_read():
    values = counts(5000)
    values[600, 0] = -1
    found = scim.pp.find_counts(anndata.AnnData(values))
    with pytest.raises(CountsError, match="negative"):
        found.rows(0, 1000)
