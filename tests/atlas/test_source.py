from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from helpers import fakes
from scim.atlas._source import Source

ARGUMENTS = {"study": "s", "study_key": None, "label_key": None, "obs_columns": [], "layer": None}


def read(adata, **arguments):
    return Source.read(adata, **ARGUMENTS | arguments)


def test_obs_has_the_standard_and_the_requested_columns():
    adata = fakes.cells(12)
    source = read(adata, study=None, study_key="sample", label_key="cell_type", obs_columns=["tissue", "age", "note"])
    assert list(source.obs) == ["cell_id", "study", "label", "label_id", "tissue", "age", "note"]
    assert source.obs["cell_id"].tolist() == adata.obs_names.tolist()
    assert source.obs["study"].tolist() == adata.obs["sample"].tolist()
    assert source.obs["label"].tolist() == adata.obs["cell_type"].tolist()
    assert set(source.obs["label_id"]) == {"CL:0000084", "CL:0000236", "CL:0000860"}
    assert source.obs["tissue"].tolist() == adata.obs["tissue"].tolist()
    assert source.n_obs == source.counts.n_obs == 12
    assert (source.embedding, source.token) == (None, None)


@pytest.mark.parametrize("dtype", [object, "category", "string"])
def test_labels_of_one_term_become_one_and_missing_ones_stay_missing(dtype):
    adata = fakes.cells(6)
    given = ["CL:0000084", "T-lymphocyte", "my own word", None, "T cell", "my own word"]
    adata.obs["mine"] = pd.Series(given, dtype=dtype, index=adata.obs_names)
    obs = read(adata, label_key="mine").obs.astype(object)
    obs = obs.where(obs.notna(), None)
    assert obs["label"].tolist() == ["T cell", "T cell", "my own word", None, "T cell", "my own word"]
    assert obs["label_id"].tolist() == ["CL:0000084", "CL:0000084", None, None, "CL:0000084", None]
    unlabelled = read(adata).obs
    assert unlabelled[["label", "label_id"]].isna().all(axis=None)
    assert unlabelled["study"].tolist() == ["s"] * 6


def test_labels_and_studies_that_are_numbers_become_text():
    adata = fakes.cells(4)
    adata.obs["n"] = [3, 1, 3, 2]
    obs = read(adata, study=None, study_key="n", label_key="n").obs
    assert obs["study"].tolist() == obs["label"].tolist() == ["3", "1", "3", "2"]


@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame, sparse.csr_matrix])
def test_an_embedding_replaces_counts(kind):
    adata = fakes.cells(9)
    X = np.random.default_rng(0).normal(size=(9, 4))
    given = kind(X)
    if isinstance(given, pd.DataFrame):
        given.index, given.columns = adata.obs_names, list("abcd")
    adata.obsm["e"] = given
    source = read(adata, obsm="e", token="t")
    assert (source.counts, source.token) == (None, "t")
    np.testing.assert_array_equal(source.embedding[2:5], X[2:5])


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "Expected study= .* got neither", {"study": None}),
        (ValueError, "Expected study= .* got both", {"study_key": "sample"}),
        (KeyError, r"obs has no column \['nope'\]. Present: \['cell_type', 'sample'", {"label_key": "nope"}),
        (ValueError, r"obs_columns \['label'\] are names that the atlas uses", {"obs_columns": ["label"]}),
        (ValueError, r"obs_columns \['soma_x'\] are names that the atlas uses", {"obs_columns": "soma_x"}),
        (TypeError, r"obs\['mixed'\] has dtype object and holds more", {"obs_columns": ["mixed"]}),
        (TypeError, r"obs_columns must be names, got \[3\]", {"obs_columns": [3]}),
        (ValueError, r"obs\['holes'\] has 1 missing values", {"study": None, "study_key": "holes"}),
        (KeyError, r"layer='nope' not found", {"layer": "nope"}),
        (KeyError, r"obsm\['nope'\] not found. Present: \['flat', 'words', 'wrong'\]", {"obsm": "nope"}),
        (
            ValueError,
            r"obsm\['flat'\] must be a table of numbers, 9 cells x dim.* got float64 of \(9, 2, 2\)",
            {"obsm": "flat"},
        ),
        (ValueError, r"obsm\['words'\] must be a table of numbers, .* got object", {"obsm": "words"}),
        (ValueError, r"obsm\['wrong'\] must be a table of numbers, .* got bool", {"obsm": "wrong"}),
        (ValueError, "Expected layer= .* or obsm= .*, got both: 'X' and 'flat'", {"layer": "X", "obsm": "flat"}),
    ],
)
def test_bad_arguments(error, message, arguments):
    cells = fakes.cells(9)
    cells.obs["label"] = cells.obs["soma_x"] = "x"
    cells.obs["mixed"] = pd.Series([1, "a", *range(7)], dtype=object, index=cells.obs_names)
    cells.obs["holes"] = [None, *"abcdefgh"]
    cells.obsm["flat"] = np.zeros((9, 2, 2))
    cells.obsm["words"] = pd.DataFrame({"a": ["x"] * 9}, index=cells.obs_names)
    cells.obsm["wrong"] = np.ones((9, 2), dtype=bool)
    with pytest.raises(error, match=message):
        read(cells, **arguments)


def test_cells_twice_in_a_study_are_refused_and_in_two_studies_not():
    cells = fakes.cells(10)
    cells.obs_names = ["x", "y"] * 5
    with pytest.warns(UserWarning, match="not unique"):
        cells = cells.copy()
    with pytest.raises(ValueError, match=r"8 cell names occur twice in a study, as \['x', 'y', 'x'\]; call adata"):
        read(cells)
    cells.obs["each"] = [f"study {i // 2}" for i in range(10)]
    assert read(cells, study=None, study_key="each").n_obs == 10
    with pytest.raises(TypeError, match="Expected an AnnData, got DataFrame"):
        read(cells.obs)


def test_the_input_is_unchanged():
    cells = fakes.cells(9)
    before = cells.obs.copy()
    read(cells, study=None, study_key="sample", label_key="cell_type", obs_columns=["n"])
    pd.testing.assert_frame_equal(cells.obs, before)
