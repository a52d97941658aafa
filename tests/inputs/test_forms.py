"""Test that a query has the same embedding in whatever form its matrix comes."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scim
from helpers import fakes
from scim._core import CountsError
from scim.io.cells import Cells, _disk, _rows, opened

N = 40
PLAIN = fakes.cells(N)
X = PLAIN.X.toarray()


def with_values(matrix):
    return anndata.AnnData(matrix, obs=PLAIN.obs[[]].copy(), var=PLAIN.var.copy())


def unsorted(_folder):
    matrix = sparse.csr_matrix(X)
    for i in range(N):
        row = slice(matrix.indptr[i], matrix.indptr[i + 1])
        matrix.indices[row], matrix.data[row] = matrix.indices[row][::-1].copy(), matrix.data[row][::-1].copy()
    return with_values(sparse.csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape))


def stored_twice(_folder):
    matrix = sparse.csr_matrix(X)
    parts = np.repeat(matrix.data / 2, 2), np.repeat(matrix.indices, 2), matrix.indptr * 2
    return with_values(sparse.csr_matrix(parts, shape=X.shape))


def stored_zeros(_folder):
    rows, columns = np.indices(X.shape)
    return with_values(sparse.csr_matrix((X.ravel(), (rows.ravel(), columns.ravel())), shape=X.shape))


def long_indices(_folder):
    matrix = sparse.csr_matrix(X)
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    return with_values(matrix)


def read_only(_folder):
    matrix = sparse.csr_matrix(X)
    for part in (matrix.data, matrix.indices, matrix.indptr):
        part.flags.writeable = False
    return with_values(matrix)


def read_only_dense(_folder):
    matrix = X.copy()
    matrix.flags.writeable = False
    return with_values(matrix)


def mapped(folder):
    np.save(folder / "X.npy", X)
    return with_values(np.load(folder / "X.npy", mmap_mode="r"))


def layer_of(matrix):
    adata = with_values(None)
    adata.layers["counts"] = matrix
    return adata


def cells_of(matrix):
    """Return cells with a matrix that this version of AnnData may not take."""
    return Cells(PLAIN.obs[[]], PLAIN.var, layers={"counts": matrix})


def some_rows(_folder):
    return anndata.concat([PLAIN, PLAIN], index_unique="-")[:N]


def some_columns(_folder):
    wide = np.hstack([X, np.ones((N, 3), np.float32)])
    var = pd.DataFrame(index=[*PLAIN.var_names, "no gene", "nor this", "nor that"])
    return anndata.AnnData(wide, var=var)[:, : X.shape[1]]


def backed(matrix):
    def make(folder):
        with_values(matrix).write_h5ad(folder / "a.h5ad")
        return anndata.read_h5ad(folder / "a.h5ad", backed="r")

    return make


def backed_view(folder):
    anndata.concat([PLAIN, PLAIN], index_unique="-").write_h5ad(folder / "a.h5ad")
    return anndata.read_h5ad(folder / "a.h5ad", backed="r")[:N]


def read_zarr(version):
    def make(folder):
        with anndata.settings.override(zarr_write_format=version), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with_values(sparse.csr_matrix(X)).write_zarr(folder / "a.zarr")
            return anndata.read_zarr(folder / "a.zarr")

    return make


def dask_array(make, chunks):
    def of(_folder):
        array = pytest.importorskip("dask.array").from_array(X, chunks=chunks)
        return with_values(array.map_blocks(make, dtype=np.float32))

    return of


def dask_view(folder):
    pytest.importorskip("dask")
    return dask_array(sparse.csr_matrix, (7, -1))(folder)[:]


def lazy(matrix, *, name="a.h5ad", layer=False):
    def make(folder):
        pytest.importorskip("xarray")
        adata = layer_of(matrix) if layer else with_values(matrix)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (adata.write_h5ad if name.endswith("h5ad") else adata.write_zarr)(folder / name)
            return anndata.experimental.read_lazy(folder / name)

    return make


def raw_counts(_folder):
    adata = with_values(sparse.csr_matrix(X))
    adata.raw = adata.copy()
    adata.X = X - 1.5
    return adata


INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
# the form of a query, how it is made in a folder, the public report it stands for
FORMS = [
    ("csr_matrix", lambda _: with_values(sparse.csr_matrix(X)), ""),
    ("csc_matrix", lambda _: with_values(sparse.csc_matrix(X)), ""),
    ("csr_array", lambda _: with_values(sparse.csr_array(X)), ""),
    ("csc_array", lambda _: with_values(sparse.csc_array(X)), ""),
    ("coo_matrix", lambda _: cells_of(sparse.coo_matrix(X)), "Teichlab/celltypist#159"),
    ("dense", lambda _: with_values(X), ""),
    ("dense, columns first", lambda _: with_values(np.asfortranarray(X)), ""),
    ("np.matrix", lambda _: cells_of(np.asmatrix(X)), ""),
    ("masked zeros", lambda _: layer_of(np.ma.masked_equal(X, 0)), ""),
    ("frame", lambda _: layer_of(pd.DataFrame(X, PLAIN.obs_names, PLAIN.var_names)), ""),
    ("float16", lambda _: with_values(X.astype(np.float16)), ""),
    ("float64", lambda _: with_values(X.astype(np.float64)), ""),
    *((f"csr {t.__name__}", lambda _, t=t: with_values(sparse.csr_matrix(X.astype(t))), "") for t in INTEGERS),
    ("dense int32", lambda _: with_values(X.astype(np.int32)), ""),
    ("big endian", lambda _: with_values(X.astype(">f4")), ""),
    ("big endian integers", lambda _: with_values(X.astype(">i2")), ""),
    ("indices of 64 bits", long_indices, "scverse/scanpy#3331"),
    ("unsorted indices", unsorted, ""),
    ("values stored in parts", stored_twice, ""),
    ("zeros stored", stored_zeros, ""),
    ("read-only", read_only, ""),
    ("read-only, dense", read_only_dense, ""),
    ("np.memmap", mapped, ""),
    ("view of rows", some_rows, ""),
    ("view of columns", some_columns, ""),
    ("a layer, without X", lambda _: layer_of(sparse.csr_matrix(X)), ""),
    ("raw beside a scaled X", raw_counts, ""),
    ("backed csr", backed(sparse.csr_matrix(X)), "scverse/scanpy#2764"),
    ("backed csc", backed(sparse.csc_matrix(X)), "scverse/scanpy#1153"),
    ("backed dense", backed(X), ""),
    ("view of a backed file", backed_view, "scverse/anndata#186"),
    ("zarr 2", read_zarr(2), ""),
    ("zarr 3", read_zarr(3), ""),
    ("dask of csr", dask_array(sparse.csr_matrix, (7, -1)), ""),
    ("dask of csc", dask_array(sparse.csc_matrix, (16, -1)), ""),
    ("dask of dense", dask_array(np.asarray, (N, -1)), ""),
    ("dask of tiles", dask_array(sparse.csr_matrix, (9, 30)), ""),
    ("view of dask", dask_view, ""),
    ("read_lazy, csr", lazy(sparse.csr_matrix(X)), ""),
    ("read_lazy, csc", lazy(sparse.csc_matrix(X)), ""),
    ("read_lazy, dense", lazy(X), ""),
    ("read_lazy, layer", lazy(sparse.csr_matrix(X), layer=True), ""),
    ("read_lazy, zarr", lazy(sparse.csr_matrix(X), name="a.zarr"), ""),
]


@pytest.fixture(scope="module")
def model():
    return fakes.tiny_model()


@pytest.fixture(scope="module")
def expected(model):
    adata = with_values(sparse.csr_matrix(X))
    scim.tl.embed(adata, model=model)
    return adata.obsm["X_scim"]


@pytest.mark.filterwarnings("ignore::FutureWarning:anndata", "ignore::PendingDeprecationWarning")
@pytest.mark.parametrize(("_name", "make", "_report"), FORMS, ids=[form[0] for form in FORMS])
def test_a_query_in_any_form(_name, make, _report, model, expected, tmp_path):
    counts = scim.pp.find_counts(make(tmp_path))
    found = model.embed(counts, scim.pp.match_genes(counts.var, model.genes))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert counts.kind == "counts"
    np.testing.assert_array_equal(counts.rows(3, 21).toarray(), X[3:21])


@pytest.mark.filterwarnings("ignore::FutureWarning:anndata")
@pytest.mark.parametrize("name", ["backed csr", "dask of csr", "read_lazy, csr", "view of rows"])
def test_embed_writes_into_any_form(name, model, expected, tmp_path):
    adata = next(make for form, make, _ in FORMS if form == name)(tmp_path)
    scim.tl.embed(adata, model=model)
    np.testing.assert_allclose(adata.obsm["X_scim"], expected, atol=1e-6)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_a_file_by_its_path(kind, model, expected, tmp_path):
    with_values(kind(X)).write_h5ad(tmp_path / "a.h5ad")
    with opened(tmp_path / "a.h5ad", []) as cells:
        counts = scim.pp.find_counts(cells)
        np.testing.assert_allclose(
            model.embed(counts, scim.pp.match_genes(counts.var, model.genes)), expected, atol=1e-6
        )


def test_logarithms_in_parts_are_added_up_before_they_are_undone():
    logged = sparse.csr_matrix(np.log1p(1e4 * X / X.sum(axis=1, keepdims=True)))
    parts = np.repeat(logged.data / 2, 2), np.repeat(logged.indices, 2), logged.indptr * 2
    adata = with_values(sparse.csr_matrix(parts, shape=X.shape))
    found = scim.pp.find_counts(adata, "X", "log1p")
    np.testing.assert_array_equal(found.whole_rows(0, N).toarray(), X)
    assert adata.X.nnz == parts[0].size  # the input is left alone


def test_blocks_of_dask_are_computed_once_in_a_pass(model, expected):
    da = pytest.importorskip("dask.array")
    computed = []

    def block(values, block_info=None):
        if block_info:
            computed.append(block_info[0]["chunk-location"][0])
        return sparse.csr_matrix(values)

    counts = scim.pp.find_counts(with_values(da.from_array(X, chunks=(7, -1)).map_blocks(block, dtype=np.float32)))
    genes = scim.pp.match_genes(counts.var, model.genes)
    computed.clear()
    rows = [counts.rows(start, min(N, start + 5)).toarray() for start in range(0, N, 5)]
    assert computed == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(np.vstack(rows), X)
    np.testing.assert_allclose(model.embed(counts, genes), expected, atol=1e-6)


def test_a_dask_array_of_unknown_length_is_refused_with_its_remedy():
    da = pytest.importorskip("dask.array")
    array = da.from_array(X, chunks=(10, -1))
    unknown = array[da.from_array(np.ones(N, dtype=bool), chunks=10)]
    with pytest.raises(CountsError, match=r"X is a Dask array with chunks of unknown lengths; call its compute_chunk"):
        _rows.readable(unknown, "X")


def test_masked_values_are_refused():
    values = np.ma.masked_array(X, X > 5)
    with pytest.raises(CountsError, match=r"masked \(missing\) values; fill them first"):
        _rows.csr_rows(_rows.readable(values, "X"), 0, N)


def test_a_large_backed_matrix_by_column_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_disk, "MAX_CSC_BYTES", 100)
    with pytest.raises(CountsError, match=r"X of .* is stored by column \(csc, .* GB\).*adata.X = adata.X.tocsr\(\)"):
        scim.pp.find_counts(backed(sparse.csc_matrix(X))(tmp_path))


def test_an_append_of_a_dask_array(tmp_path):
    da = pytest.importorskip("dask.array")
    adata = PLAIN.copy()
    adata.X = da.from_array(X, chunks=(7, -1)).map_blocks(sparse.csr_matrix, dtype=np.float32)
    with scim.atlas.create(tmp_path / "a.scim", model=fakes.tiny_model()) as atlas:
        assert atlas.append(adata, study="s", label_key="cell_type") == N
        plain = np.asarray(atlas.embeddings())
    with scim.atlas.create(tmp_path / "b.scim", model=fakes.tiny_model()) as atlas:
        atlas.append(PLAIN, study="s", label_key="cell_type")
        np.testing.assert_allclose(plain, atlas.embeddings(), atol=1e-6)
