from __future__ import annotations

import json

import numpy as np
import pytest

import scim
from scim.model import CellFilters
from scim.training.data import check_shared, combine, gathered, pick_genes, split_studies

KEYS = {"label_key": "cell_type", "study_key": None}


def toy(n=60, seed=0):
    return scim.datasets.toy(n, rng=seed)


def test_the_report_has_the_effect_of_each_filter(tmp_path):
    a, b = toy(), toy(seed=1)
    b.obs.loc[b.obs_names[:10], "cell_type"] = np.nan
    totals = np.asarray(a.X.sum(axis=1)).ravel()
    least = int(np.sort(totals)[7])
    few = {"a": int((totals < least).sum()), "b": int((b.X.sum(axis=1)[10:] < least).sum())}
    assert few["a"] > 0 < few["b"]
    b.write_h5ad(tmp_path / "b.h5ad")
    with gathered({"a": a, "b": tmp_path / "b.h5ad"}, **KEYS, filters=CellFilters(min_counts=least)) as (sets, report):
        assert [data.n_cells for data in sets] == [60 - few["a"], 50 - few["b"]]
        combine(sets, pick_genes(sets, None, 200), max_memory=10**9)
    rule = f"fewer than {least} counts"
    assert report == {
        "data_sets": {"a": {"n_labelled": 60, rule: few["a"]}, "b": {"n_labelled": 50, rule: few["b"]}},
        "labels": {},
    }
    assert json.loads(json.dumps(report)) == report


@pytest.mark.filterwarnings("ignore:study2. none of 60 cells passes the filters .doublets. 60.")
def test_a_data_set_without_cells_left_is_left_out():
    """It selects no gene, and its gene panel is not used for augmentation."""
    a, b, empty = toy(), toy(seed=1), toy(seed=2)[:, :80].copy()
    for adata in (a, b, empty):
        adata.obs["doublet"] = adata is empty
    with gathered([a, b, empty], **KEYS, filters=CellFilters(doublet_key="doublet")) as (sets, report):
        genes = pick_genes(sets, None, 60)
        cells = combine(sets, genes, max_memory=10**9)
    with gathered([a, b], **KEYS) as (sets, _):
        assert genes.tolist() == pick_genes(sets, None, 60).tolist()
    assert report["data_sets"]["study2"] == {"n_labelled": 60, "doublets": 60}
    assert cells.panels.shape == (2, 60)
    assert cells.studies == ("study0", "study1")


@pytest.mark.filterwarnings("ignore:study.. none of 60 cells")
@pytest.mark.parametrize("rules", [{"min_counts": 10**6}, {"min_counts": 10**6, "min_studies": 2}, {"min_studies": 3}])
def test_no_cell_left_is_an_error(rules):
    adatas = [toy(), toy(seed=1)]
    for adata in adatas:
        adata.obs["cell_type"] = adata.obs["cell_type"].astype(str) + " of mine"
    with (
        pytest.raises(ValueError, match=r"No cell passes the filters: .*study0.*'n_labelled': 60"),
        gathered(adatas, **KEYS, filters=CellFilters(**rules)),
    ):
        pass


def test_rare_labels_move_to_their_parents():
    """CD4 and CD8 T cells of a study each are both mature alpha-beta T cells; a word of one study goes.

    Monocytes of one study become what they share with the others: mononuclear leukocytes.
    """
    a, b = toy(), toy(seed=1)
    words = {"T cell": "CD4-positive, alpha-beta T cell", "B cell": "B cell", "classical monocyte": "odd cell"}
    a.obs["cell_type"] = a.obs["cell_type"].astype(str).map(words)
    b.obs["cell_type"] = b.obs["cell_type"].astype(str).replace("T cell", "CD8-positive, alpha-beta T cell")
    with gathered([a, b], **KEYS, filters=CellFilters(min_studies=2)) as (sets, report):
        cells = combine(sets, pick_genes(sets, None, 200), max_memory=10**9)
    assert report["labels"] == {
        "CD4-positive, alpha-beta T cell": "CL:0000791",
        "CD8-positive, alpha-beta T cell": "CL:0000791",
        "odd cell": None,
        "classical monocyte": "CL:0000842",
    }
    assert cells.labels.names == ("B cell", "mature alpha-beta T cell", "mononuclear leukocyte")
    assert len(cells.label) == 100
    rows = np.flatnonzero(a.obs["cell_type"] != "odd cell")
    assert np.array_equal(cells.X[np.arange(40)].toarray().sum(1), a.X[rows].toarray().sum(1))


def sets_of(*adatas, study_key=None):
    with gathered(list(adatas), label_key="cell_type", study_key=study_key) as (sets, _):
        return sets


def test_studies_are_split_by_name():
    sets = sets_of(toy(), toy(30, seed=1), study_key="sample")
    others, held = split_studies(sets, ["sample1"])
    assert [data.n_cells for data in others] == [30, 15]
    assert {study for data in others for study in data.studies} == {"sample0"}
    assert {study for data in held for study in data.studies} == {"sample1"}
    assert split_studies(sets, []) == (sets, [])
    sets = sets_of(toy(), toy(30, seed=1))
    others, held = split_studies(sets, ["study1"])
    assert [data.name for data in others] == ["study0"]
    assert [data.name for data in held] == ["study1"]


def test_studies_are_split_by_a_number_or_one_name():
    a = toy()
    a.obs["batch"] = np.arange(a.n_obs) % 3
    for studies in ([1], "1", ("1",), np.array([1])):
        others, held = split_studies(sets_of(a, study_key="batch"), studies)
        assert {study for data in others for study in data.studies} == {"0", "2"}
        assert {study for data in held for study in data.studies} == {"1"}


@pytest.mark.parametrize(
    ("studies", "match"),
    [
        (["gone"], r"there is no study \['gone'\]\. Present: \['study0', 'study1'\]"),
        (["study0", "study1"], "no study is left to train on"),
    ],
)
def test_studies_that_cannot_be_split(studies, match):
    with pytest.raises(ValueError, match=match):
        split_studies(sets_of(toy(), toy(seed=1)), studies)


def renamed(words, seed=0):
    adata = toy(seed=seed)
    adata.obs["cell_type"] = adata.obs["cell_type"].astype(str).map(words)
    return adata


def test_related_labels_in_two_studies_are_enough():
    a = renamed({"T cell": "T cell", "B cell": "odd", "classical monocyte": "odd"})
    b = renamed({"T cell": "CD8-positive, alpha-beta T cell", "B cell": "other", "classical monocyte": "other"}, 1)
    check_shared(sets_of(a, b), "cell_type", None)
    b.obs["cell_type"] = "other"
    with pytest.raises(ValueError, match=r"No label of obs\['cell_type'\] occurs in two studies.*\['T cell', 'odd'\]"):
        check_shared(sets_of(a, b), "cell_type", None)
