"""Index arrays that lead beyond a matrix are refused by every way in, before compiled code follows them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import scim
from helpers import fakes
from scim._core import CountsError, FormatError
from scim.io.cells import check_matrices, check_sparse, csr_rows, dense, readable


def whole(form="csr", dtype=np.float32):
    X = sparse.random(12, 9, 0.4, random_state=np.random.default_rng(0), format="csr")
    X.data = np.arange(1, X.nnz + 1)
    return X.astype(dtype).asformat(form)


def broken(form, part, value, at=-1):
    """Return a matrix of which one index was changed."""
    X = whole(form)
    array = getattr(X, part) if form != "coo" else X.coords[part]
    array[at] = value
    return X


def with_array(part, change):
    X = whole()
    setattr(X, part, change(getattr(X, part)))
    return X


def with_lil_rows():
    X = whole("lil")
    X.rows[2].append(3)
    return X


def with_offsets():
    X = sparse.dia_matrix(np.eye(12, 9, dtype=np.float32))
    X.offsets = np.append(X.offsets, 4)
    return X


DAMAGED = {
    "indptr beyond the end": lambda: broken("csr", "indptr", 10**6),
    "indptr negative": lambda: broken("csr", "indptr", -1, 3),
    "indptr not monotone": lambda: broken("csr", "indptr", 30, 2),
    "indptr not from 0 on": lambda: broken("csr", "indptr", 1, 0),
    "indptr too short": lambda: with_array("indptr", lambda indptr: indptr[:-2]),
    "indptr too long": lambda: with_array("indptr", lambda indptr: np.append(indptr, indptr[-1])),
    "indptr of fractions": lambda: with_array("indptr", lambda indptr: indptr.astype(float)),
    "indptr of huge unsigned": lambda: with_array("indptr", lambda indptr: indptr.astype(np.uint64) + np.uint64(2**63)),
    "index negative": lambda: broken("csr", "indices", -1, 5),
    "index of the width": lambda: broken("csr", "indices", 9, 5),
    "index huge": lambda: broken("csr", "indices", 2**31 - 1, 0),
    "indices too few": lambda: with_array("indices", lambda indices: indices[:-1]),
    "indices of fractions": lambda: with_array("indices", lambda indices: indices.astype(np.float32)),
    "data too few": lambda: with_array("data", lambda data: data[:-1]),
    "csc indptr": lambda: broken("csc", "indptr", 10**6),
    "csc index": lambda: broken("csc", "indices", 12, 5),
    "coo row": lambda: broken("coo", 0, 12, 5),
    "coo column": lambda: broken("coo", 1, -1, 5),
    "bsr index": lambda: broken("bsr", "indices", 50, 2),
    "lil rows": with_lil_rows,
    "dia offsets": with_offsets,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_index_arrays_are_refused(name):
    X = DAMAGED[name]()
    with pytest.raises(FormatError, match=r"X is damaged: .* Read or make it again from its source"):
        check_sparse(X, "X")
    with pytest.raises(FormatError, match="X is damaged"):
        csr_rows(readable(X, "X"), 0, 12, "X")
    with pytest.raises(FormatError, match="X is damaged"):
        dense(X, "X")


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "lil", "dia", "dok"])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_whole_matrices_become_rows(form, dtype):
    X = whole(form, dtype)
    check_sparse(X, "X")
    rows = csr_rows(readable(X, "X", (12, 9)), 3, 8)
    np.testing.assert_array_equal(rows.toarray(), X.toarray()[3:8])
    np.testing.assert_array_equal(dense(X, "X"), X.toarray())


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.uint32, ">i4"])
def test_indices_of_any_whole_type(dtype):
    X = whole()
    expected = X.toarray()[2:9]
    X.indices, X.indptr = X.indices.astype(dtype), X.indptr.astype(dtype)
    np.testing.assert_array_equal(csr_rows(X, 2, 9).toarray(), expected)


@pytest.mark.parametrize("shape", [(12, 8), (12, 10), (11, 9), (2**40, 9)])
def test_a_shape_that_obs_and_var_have_not(shape):
    with pytest.raises(CountsError, match=r"X has the shape \(12, 9\), expected .* as obs and var have it"):
        readable(whole(), "X", shape)


def damaged_cells(slot):
    """Return cells of which one matrix has an index beyond the columns, as anndata.read_h5ad returns them."""
    adata = fakes.cells(20)
    adata.raw = adata.copy()
    adata.layers["counts"] = adata.X.copy()
    adata.obsm["X_e"] = sparse.csr_matrix(np.eye(20, 4))
    places = {"X": adata.X, "raw": adata.raw.X, "counts": adata.layers["counts"], "X_e": adata.obsm["X_e"]}
    places[slot].indices[3] = 10**7
    return adata


@pytest.mark.parametrize("slot", ["X", "raw", "counts"])
def test_no_other_matrix_takes_the_place_of_a_damaged_one(slot):
    adata = damaged_cells(slot)
    with pytest.raises(FormatError, match="is damaged"):
        scim.tl.embed(adata, model=fakes.tiny_model(), layer=slot)
    assert list(adata.obsm) == ["X_e"]
    with pytest.raises(FormatError, match="is damaged"):
        check_matrices(adata)


@pytest.mark.parametrize("slot", ["X", "X_e"])
def test_views_of_damaged_cells(slot):
    view = damaged_cells(slot)[::2]
    with pytest.raises(FormatError, match="is damaged"):
        scim.tl.embed(view, model=fakes.tiny_model())


def test_arrays_that_a_model_is_given():
    model = fakes.tiny_model()
    X = sparse.csr_matrix(np.eye(3, model.n_genes, dtype=np.float32))
    X.indices[1] = model.n_genes
    with pytest.raises(FormatError, match="is damaged"):
        model.encode(X)
    genes = scim.pp.match_genes(fakes.cells(3).var, model.genes)
    wide = sparse.csr_matrix((3, genes.columns.size + 5), dtype=np.float32)
    with pytest.raises(CountsError, match="expected the .* whose genes were matched"):
        scim.pp.align(wide, genes)


def test_a_damaged_matrix_is_not_appended(tmp_path):
    with scim.atlas.create(tmp_path / "a.scim", model=fakes.tiny_model()) as atlas:
        with pytest.raises(FormatError, match="X is damaged"):
            atlas.append(damaged_cells("X"), study="s", layer="X")
        assert atlas.n_obs == 0
        with pytest.raises(FormatError, match=r"obsm\['X_e'\] is damaged"):
            scim.atlas.from_embedding(damaged_cells("X_e"), tmp_path / "b.scim", obsm="X_e", study="s")


def test_dask_blocks_are_checked():
    da = pytest.importorskip("dask.array")
    adata = fakes.cells(20)

    def damaged(block):
        X = sparse.csr_matrix(block)
        X.indices[-1:] = -1
        return X

    adata.X = da.from_array(adata.X.toarray(), chunks=(5, -1)).map_blocks(damaged, dtype=np.float32)
    with pytest.raises(FormatError, match="X is damaged"):
        scim.pp.find_counts(adata)
