"""Test what users of other tools reported of references and indices: labels, columns, rows. See `test_reports.py`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes
from helpers.reports import Reports

report = Reports()


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


@report("openpipelines-bio/openpipeline#395", "other words for no label")
def words_for_no_label():
    words = ["Unassigned", "nan", "None", "N/A", "", " ", "<NA>", "-", "not available", "UNKNOWN"]
    assert fit(with_words(words)) == (["B cell", "T cell"], ["B cell", "T cell"])


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


@report("lilab-bcb/pegasus#323", "labels with a slash, that a file cannot have as keys")
def labels_with_a_slash():
    cells, query = fakes.cells(12, seed=5), fakes.cells(12, seed=9)
    cells.obs["phase"] = np.resize(["G1/S", "G2/M"], 12)
    with tempfile.TemporaryDirectory() as folder:
        with scim.atlas.create(Path(folder) / "a.scim", model=fakes.tiny_model()) as atlas:
            atlas.append(cells, study="one", obs_columns=["phase"])
            atlas.build_index()
            scim.tl.embed(query, atlas)
            scim.tl.annotate(query, atlas, label_key="phase", max_error=1)
        query.write_h5ad(Path(folder) / "a.h5ad")
        assert set(anndata.read_h5ad(Path(folder) / "a.h5ad").obs["scim_label"]) <= {"G1/S", "G2/M"}


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
