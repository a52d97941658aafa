"""Test what users of other tools reported of references and indices: labels, columns, rows. See `test_reports.py`."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes
from helpers.reports import Reports

report = Reports()
atlas_report = Reports()


@pytest.fixture(scope="module")
def growing(tmp_path_factory):
    """An atlas to which studies are appended."""
    with scim.atlas.create(tmp_path_factory.mktemp("atlas") / "a.scim", model=fakes.tiny_model()) as atlas:
        yield atlas


# -- labels


def fit(labels):
    """Two groups of cells in two studies, with these labels, and what is predicted of the groups."""
    random = np.random.default_rng(0)
    centres = np.repeat(np.eye(2, 8), 20, axis=0)
    X = centres + 0.05 * random.normal(size=centres.shape)
    transfer = scim.label_transfer.LabelTransfer.fit(X, labels, np.tile(["one", "two"], 20))
    return transfer.labels.tolist(), transfer.predict(np.eye(2, 8), max_error=1.0).labels.tolist()


def with_words(words):
    """Half of the cells of each group have another word for their label."""
    labels = np.repeat(np.array(["B cell", "T cell"], dtype=object), 20)
    labels[::2] = np.resize(np.array(words, dtype=object), 20)
    return labels


@report("SingleR-inc/SingleR#183", "missing labels in the reference")
def missing_labels():
    assert fit(with_words([None, np.nan, pd.NA])) == (["B cell", "T cell"], ["B cell", "T cell"])


@report("YosefLab/popV#27", "cells that are labelled 'unknown'")
def unknown_as_label():
    assert fit(with_words(["unknown", "Unknown "])) == (["B cell", "T cell"], ["B cell", "T cell"])


@report("openpipelines-bio/openpipeline#395", "other words for no label")
def words_for_no_label():
    words = ["Unassigned", "nan", "None", "N/A", "", " ", "<NA>", "-", "not available", "UNKNOWN"]
    assert fit(with_words(words)) == (["B cell", "T cell"], ["B cell", "T cell"])


@report("chanzuckerberg/cellxgene-census#1434", "labels in quotes beside the same without")
def quoted_labels():
    labels = np.repeat(np.array(['"B cell"', "'T cell'"], dtype=object), 20)
    labels[::2] = [label.strip("\"'") for label in labels[::2]]
    assert fit(labels) == (["B cell", "T cell"], ["B cell", "T cell"])


@report("ventolab/CellphoneDB#12", "numbers of clusters as labels")
def numbers_as_labels():
    assert fit(np.repeat([3, 11], 20)) == (["11", "3"], ["3", "11"])


@report("YosefLab/popV#28", "labels that are no terms of the Cell Ontology")
def labels_of_ones_own():
    own = np.repeat(np.array(["my type 1", "B cell"], dtype=object), 20)
    assert fit(own) == (["B cell", "my type 1"], ["my type 1", "B cell"])


@report("scverse/anndata#15", "a single label")
def single_label():
    assert fit(pd.Categorical(["T cell"] * 40)) == (["T cell"], ["T cell", "T cell"])


@report("scverse/anndata#963", "categories of the type string")
def categories_of_strings():
    labels = pd.Series(np.repeat(["B cell", "T cell"], 20), dtype="string").astype("category")
    assert fit(labels) == (["B cell", "T cell"], ["B cell", "T cell"])


@atlas_report("lilab-bcb/pegasus#323", "labels with a slash, that a file cannot have as keys")
def labels_with_a_slash(growing, folder):
    cells = fakes.cells(12, seed=5)
    cells.obs["phase"] = np.resize(["G1/S", "G2/M"], 12)
    growing.append(cells, study="slash", obs_columns=["phase"])
    growing.build_index()
    query = fakes.cells(12, seed=9)
    scim.tl.embed(query, growing)
    scim.tl.annotate(query, growing, label_key="phase", max_error=1)
    query.write_h5ad(folder / "a.h5ad")
    assert set(anndata.read_h5ad(folder / "a.h5ad").obs["scim_label"]) <= {"G1/S", "G2/M"}


@atlas_report("single-cell-data/TileDB-SOMA#2696", "a column of NaN in the first file, of text in the next")
def text_after_nan(growing, folder):
    for name, values in (("empty", np.nan), ("text", "naive"), ("empty again", None)):
        cells = fakes.cells(6, seed=len(name))
        cells.obs["author_cell_type"] = values
        growing.append(cells, study=name, obs_columns=["author_cell_type"])
    obs = growing.obs(columns=["study", "author_cell_type"])
    found = obs[obs["study"].isin(["empty", "text", "empty again"])].groupby("study", observed=True)["author_cell_type"]
    assert found.count().to_dict() == {"empty": 0, "text": 6, "empty again": 0}


# -- search


def unit(n=30, dim=8, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@report("facebookresearch/faiss#1731", "k larger than the number of rows, and -1 read as an id")
def k_larger_than_the_index():
    found = scim.index.build(unit(5)).query(unit(2, seed=1), k=8)
    assert [sorted(row[row >= 0]) for row in found.ids] == [[0, 1, 2, 3, 4]] * 2
    assert (found.ids[:, 5:] == -1).all()
    assert np.isinf(found.distances[:, 5:]).all()


@report("facebookresearch/faiss#3830", "a search of an index without rows")
def index_without_rows():
    with pytest.raises(ValueError, match=r"(?i)no rows|at least one|empty|0 rows"):
        scim.index.build(np.empty((0, 8), dtype=np.float32))


@report("nmslib/hnswlib#93", "an index of one row")
def index_of_one_row():
    found = scim.index.build(unit(1), ids=[8512]).query(unit(1), k=4)
    assert found.ids.tolist() == [[8512, -1, -1, -1]]
    assert found.distances[0, 0] == 0


@report("nmslib/hnswlib#244", "k larger than what is left after deleting")
def k_larger_than_what_is_left():
    index = scim.index.build(unit(10))
    index.delete(np.arange(8))
    assert sorted(index.query(unit(1), k=3).ids[0].tolist()) == [-1, 8, 9]


@report("nmslib/hnswlib#465", "a filter that fewer than k rows pass")
def filter_of_few():
    index = scim.index.build(unit(10), obs=pd.DataFrame({"kept": np.arange(10) < 2}))
    assert sorted(index.query(unit(1), k=4, where="kept").ids[0].tolist()) == [-1, -1, 0, 1]


@report("nmslib/hnswlib#373", "many equal rows, which hide the others")
def equal_rows():
    X = np.vstack([np.repeat(unit(1), 50, axis=0), unit(3, seed=2)])
    found = scim.index.build(X).query(unit(1), k=4, distinct=True)
    assert found.ids[0, 0] == 0
    assert sorted(found.ids[0, 1:].tolist()) == [50, 51, 52]


@report("scverse/scanpy#2244", "equal cells that are not neighbours of each other")
def equal_cells():
    X = unit(6)
    found = scim.index.build(np.vstack([X, 10 * X])).query(3 * X, k=2)
    assert found.ids.tolist() == [[i, i + 6] for i in range(6)]
    assert not found.distances.any()


@report("lmcinnes/pynndescent#99", "rows of zeros, whose neighbours are always the same rows")
def rows_of_zeros():
    X = unit(6)
    X[2] = 0
    found = scim.index.build(X).query(X, k=6)
    assert found.ids[2].tolist() == [-1] * 6
    assert 2 not in found.ids
    assert (found.ids[[0, 1, 3, 4, 5], -1] == -1).all()


@report("facebookresearch/faiss#244", "a query of NaN")
def query_of_nan():
    with pytest.raises(ValueError, match="1 of 1 queries hold NaN or infinity"):
        scim.index.build(unit()).query(np.full((1, 8), np.nan), k=3)


@pytest.mark.parametrize("test", report)
def test_report(test):
    test()


@pytest.mark.parametrize("test", atlas_report)
def test_report_of_an_atlas(test, growing, tmp_path):
    test(growing, tmp_path)
