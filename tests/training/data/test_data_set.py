from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scim
from scim.io.cells import opened
from scim.pp import _align
from scim.training.data._data_set import read_data_set

GENES = scim.pp.canonical_genes(scim.datasets.toy(3).var_names)


def toy(n=40, seed=0):
    return scim.datasets.toy(n, rng=seed)


def data_of(adata, name="x", **kwargs):
    usual = {"label_key": "cell_type", "study_key": None, "layer": None, "transform": None, "gene_key": None}
    return read_data_set(name, adata, **{**usual, **kwargs})


def whole(data, genes=None):
    """Return all rows, at the positions of the blocks."""
    genes = data.genes if genes is None else genes
    X = np.full((data.n_cells, len(genes)), np.nan)
    for rows, block in data.blocks(genes):
        assert np.isnan(X[rows]).all()
        X[rows] = block.toarray()
    return X


@pytest.fixture(params=["memory", "h5ad", "zarr", "dense h5ad", "csc h5ad"])
def stored(request, tmp_path):
    """Open an AnnData in memory or from a file."""

    def put(adata):
        if request.param == "memory":
            return opened(adata, [])
        if request.param == "zarr":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # anndata warns of its next default
                adata.write_zarr(tmp_path / "x.zarr")
            return opened(tmp_path / "x.zarr", list(adata.obs))
        if request.param != "h5ad":
            adata.X = adata.X.toarray() if request.param == "dense h5ad" else adata.X.tocsc()
        adata.write_h5ad(tmp_path / "x.h5ad")
        return opened(tmp_path / "x.h5ad", list(adata.obs))

    return put


def test_blocks_are_the_matrix_wherever_it_is(stored, monkeypatch):
    monkeypatch.setattr(_align, "_CHUNK_VALUES", 1)  # blocks of 256 rows
    adata = toy(600)
    expected = adata.X.toarray()
    with stored(adata.copy()) as cells:
        data = data_of(cells)
        assert data.genes.tolist() == GENES.tolist()
        assert sum(1 for _ in data.blocks(data.genes)) == 3
        assert np.array_equal(whole(data), expected)
        assert np.array_equal(whole(data, GENES[::-3]), expected[:, ::-3])
        absent = np.array([GENES[5], "nothing", GENES[2]], dtype=object)
        assert np.array_equal(whole(data, absent), expected[:, [5, 5, 2]] * [1, 0, 1])


def test_rows_out_of_the_middle(stored, monkeypatch):
    """Unlabelled cells, a mask, a mask of a mask; one block of three has no cell left."""
    monkeypatch.setattr(_align, "_CHUNK_VALUES", 1)
    adata = toy(600)
    adata.obs.loc[adata.obs_names[:20], "cell_type"] = np.nan
    with stored(adata.copy()) as cells:
        data = data_of(cells)
        assert data.n_cells == 580
        assert np.array_equal(whole(data), adata.X[20:].toarray())
        rows = np.array([30, 255, 520, 521, 599])
        some = data.select(np.isin(data.rows, np.r_[rows, 40])).select(np.array([True, False, True, True, True, True]))
        assert some.rows.tolist() == rows.tolist()
        assert some.labels.tolist() == adata.obs["cell_type"].iloc[rows].tolist()
        assert np.array_equal(whole(some), adata.X[rows].toarray())
        assert data.n_cells == 580
        none = data.select(np.zeros(580, dtype=bool))
        assert none.n_cells == 0
        assert whole(none).shape == (0, len(GENES))


def test_studies_are_the_column_or_the_name():
    adata = toy()
    assert set(data_of(adata, name="mine").studies) == {"mine"}
    assert data_of(adata, study_key="sample").studies.tolist() == adata.obs["sample"].tolist()
    adata.obs["batch"] = np.arange(40) % 2
    assert data_of(adata, study_key="batch").studies.tolist() == ["0", "1"] * 20


def test_names_of_one_gene_are_summed():
    """CD3E by its symbol, its Ensembl id, and its id with a version."""
    adata = toy()
    names = adata.var_names.to_numpy(dtype=object)
    at = [int(np.flatnonzero(names == gene)[0]) for gene in ("CD3E", "CD2", "CD7")]
    names[at] = "CD3E", "ENSG00000198851", "ENSG00000198851.15"
    adata.var_names = names
    data = data_of(adata)
    assert len(data.genes) == len(set(data.genes)) == 109
    found = whole(data, np.array(["ENSG00000198851"], dtype=object))
    assert np.array_equal(found[:, 0], adata.X[:, at].toarray().sum(axis=1))


def test_symbols_match_ensembl_ids():
    a, b = toy(), toy()
    b.var_names = GENES.astype(str)
    one, other = data_of(a), data_of(b)
    assert one.genes.tolist() == other.genes.tolist()
    assert one.measured(GENES).all()
    assert np.array_equal(whole(one, GENES[:7]), whole(other, GENES[:7]))


def test_the_names_may_be_in_a_column_of_var():
    adata = toy()
    adata.var = pd.DataFrame({"mine": adata.var_names}, index=[f"g{i}" for i in range(adata.n_vars)])
    assert np.array_equal(whole(data_of(adata, gene_key="mine"), GENES), adata.X.toarray())
    adata.var = adata.var.rename(columns={"mine": "feature_name"})
    assert np.array_equal(whole(data_of(adata), GENES), adata.X.toarray())


def test_measured_marks_the_known_genes():
    data = data_of(toy()[:, 10:70].copy())
    assert np.flatnonzero(data.measured(GENES)).tolist() == list(range(10, 70))


def test_a_layer_and_the_undone_logarithm():
    adata = toy()
    adata.layers["mine"] = adata.X * 2
    assert np.array_equal(whole(data_of(adata, layer="mine")), adata.X.toarray() * 2)
    logged = anndata.AnnData(sparse.csr_matrix(np.log1p(adata.X.toarray() / 3)), adata.obs, adata.var)
    with pytest.warns(UserWarning, match="log-normalised"):
        data = data_of(logged)
    np.testing.assert_allclose(whole(data), adata.X.toarray() / 3, rtol=1e-5)


@pytest.mark.parametrize(
    ("column", "kwargs", "error", "match"),
    [
        (
            {},
            {"label_key": "type"},
            KeyError,
            r"label_key='type' is not a column of obs of 'x'\. Present: \['cell_type",
        ),
        ({}, {"study_key": "donor"}, KeyError, r"study_key='donor' is not a column of obs of 'x'"),
        ({"cell_type": np.nan}, {}, ValueError, "'x' has only missing values"),
        ({"donor": [None, *["a"] * 39]}, {"study_key": "donor"}, ValueError, "'x' is missing for 1 labelled cells"),
        ({}, {"layer": "mine"}, KeyError, "layer='mine' not found"),
        ({}, {"gene_key": "mine"}, KeyError, "gene_key='mine' is not a column of var"),
    ],
)
def test_errors_name_the_problem(column, kwargs, error, match):
    adata = toy()
    for name, value in column.items():
        adata.obs[name] = value
    with pytest.raises(error, match=match):
        data_of(adata, **kwargs)


def test_an_error_about_counts_names_the_data_set():
    scaled = toy()
    scaled.X = scaled.X.toarray() - 2
    with pytest.raises(ValueError, match=r"^mine: X has negative values"):
        data_of(scaled, name="mine")
    with pytest.raises(KeyError, match=r"mine: .*'nope'"):
        data_of(toy(), name="mine", layer="nope")
