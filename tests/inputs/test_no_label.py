"""Test the one notion of "no label": words that name no type neither vote nor train nor count, wherever labels are read."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes
from helpers.annotated import annotated
from scim._core.no_label import NO_LABEL, clean_text, is_no_label, read_labels, read_names
from scim._core.settings import Settings
from scim.label_transfer import LabelTransfer
from scim.model import ModelConfig, TrainConfig, learn_metric
from scim.ontology._cell_ontology import _id_of_name
from scim.training.data import gathered

WORDS = ["Unknown", "Unassigned", "nan", "None", "N/A", "", " ", "<NA>", "-", "not available", "UNKNOWN cells", "'NaN'"]
NONE = [
    # the report, texts that are no label
    ("YosefLab/popV#27", ["unknown", "Unknown", " UNKNOWN ", "unknown\u00a0", "'unknown'", "Unknown cell", "unknown_cells", "Unknown cell type"]),
    ("LungCellAtlas/HLCA#2", ["nan", "NaN", "NAN", "NaT", "<NA>", "<na>", "None", "none", "null", "NULL", "missing"]),
    ("SingleR-inc/SingleR#183", ["NA", "na", "N/A", "n/a", "N.A.", "#N/A", "NA_character_"]),
    ("chanzuckerberg/cellxgene-census#1434", ["", " ", "\t", "\u00a0", "\u200b", "''", '""', "-", "--", "?", ".", "_", "...", "\u2014"]),
    ("scverse/scvi-tools#867", ["unlabeled", "Unlabelled", "un-labeled", "not labelled", "no_label", "No label"]),
    ("", ["Unassigned", "unassigned_3", "not assigned", "not_assigned", "Unannotated", "undefined", "undetermined", "unclassified", "Unknown 1"]),
    ("", ["unk", "pd.NA", "lowQ", "Unknown (low quality)", "Cell type unknown", "doublets/debris"]),
    ("", ["not available", "not_available", "not  applicable", "Not-Applicable", "ambiguous", "Heterogeneous", "rejected"]),
    ("", ["doublet", "Doublets", "low quality", "Low_Quality", "low-quality cells", "debris", "Empty droplets", "multiplets"]),
]  # fmt: skip
LABELS = [
    # the report, what was given, the label
    ("chanzuckerberg/cellxgene-census#1434", "'T cell'", "T cell"),
    ("", '"T cell"', "T cell"),
    ("", '""T cell""', "T cell"),
    ("", "\u201cT cell\u201d", "T cell"),
    ("", " T\u00a0 cell\n", "T cell"),
    ("mojaveazure/seurat-disk#95", b"T cell", "T cell"),
    ("mojaveazure/seurat-disk#95", "b'T cell'", "T cell"),
    ("", np.str_("T cell"), "T cell"),
    ("ventolab/CellphoneDB#12", 3, "3"),
    ("ventolab/CellphoneDB#12", 3.0, "3"),
    ("", np.float32(2.5), "2.5"),
    ("", True, "True"),
    ("", "cell", "cell"),
    ("", "T/NK", "T/NK"),
    ("", "5' T cell", "5' T cell"),
    ("", "'alpha' and 'beta'", "'alpha' and 'beta'"),
    ("", "unknown T cell", "unknown T cell"),
    ("", "NA1", "NA1"),
    ("", "Nanog+", "Nanog+"),
    ("", "other", "other"),
    ("", "\u795e\u7d93\u5143", "\u795e\u7d93\u5143"),
]


@pytest.mark.parametrize("word", sorted({word for _, words in NONE for word in words} | set(WORDS)))
def test_words_that_mean_no_label(word):
    read = read_labels(["B cell", word, "B cell"])
    assert read.values.isna().tolist() == [False, True, False]
    assert read.left_out == {word: 1}
    assert scim.ontology.standardize([word, "B cell"]).tolist() == [None, "B cell"]


@pytest.mark.parametrize(("report", "given", "label"), LABELS)
def test_labels_are_cleaned(report, given, label):
    del report
    assert read_labels([given]).values.tolist() == [label]


def test_no_term_of_the_cell_ontology_means_no_label():
    """Every name and synonym of a term is a label, and cleaning leaves it as it is."""
    assert [name for name in _id_of_name() if is_no_label(name)] == []
    assert [name for name in _id_of_name() if clean_text(name) != " ".join(name.split())] == []
    assert all(map(is_no_label, NO_LABEL))


@pytest.mark.parametrize(
    "column",
    [
        ["T cell", "B cell", None, "T cell"],
        ["T cell", "B cell", np.nan, "T cell"],
        ["T cell", "B cell", pd.NA, "T cell"],
        ["T cell", "B cell", pd.NaT, "T cell"],
        np.array(["T cell", "B cell", "nan", "T cell"]),
        np.array([b"T cell", b"B cell", b"", b"T cell"]),
        pd.array(["T cell", "B cell", None, "T cell"], dtype="string"),
        pd.array(["T cell", "B cell", None, "T cell"], dtype="string[pyarrow]"),
        pd.Categorical(["T cell", "B cell", None, "T cell"], categories=["B cell", "neuron", "T cell"]),
        pd.Categorical(["T cell", "B cell", "Unknown", " T cell"]),
        pd.Series(["T cell", "B cell", "unknown", "'T cell'"], index=[7, 7, 7, 7]),
    ],
)
def test_columns_of_every_dtype(column):
    read = read_labels(column)
    assert read.values.astype(object).tolist()[:2] == ["T cell", "B cell"]
    assert read.present.tolist() == [True, True, False, True]
    assert sorted(read.values.categories) == ["B cell", "T cell"]
    assert read.n_missing == 1


def test_numbers_with_missing_values_are_the_labels_of_whole_numbers():
    assert read_labels([3.0, np.nan, 4.0]).values.astype(object).tolist()[::2] == read_labels([3, 4]).values.tolist()
    assert read_labels(pd.array([3, None], dtype="Int64")).values.categories.tolist() == ["3"]
    with pytest.raises(TypeError, match=r"Expected one text for each cell, got values such as \['T cell'\]; call"):
        read_labels([["T cell"]])


def test_what_is_left_out_is_described():
    read = read_labels(["T cell"] * 228 + ["Unknown"] * 8 + ["nan"] * 4)
    assert read.describe() == '12 of 240 cells (5.0 %) have no label ("Unknown", "nan")'
    assert read_labels(["a", None]).describe() == "1 of 2 cells (50.0 %) have no label"
    assert read_labels(["a", None, "?"]).describe() == '2 of 3 cells (66.7 %) have no label ("?", missing values)'
    assert read_labels(["a"]).describe() == read_labels([]).describe() == ""
    assert read_labels(list("?-.!+*/")).describe().endswith('("?", "-", ".", "!", "+", 2 more)')


def test_the_settings_add_words(monkeypatch):
    monkeypatch.setattr(scim.settings, "no_label", ("To be done", "x-1"))
    assert read_labels(["to_be_done", "X1", "a"]).present.tolist() == [False, False, True]
    monkeypatch.setattr(scim.settings, "no_label", "mine")
    assert read_labels(["Mine", "m"]).present.tolist() == [False, True]
    monkeypatch.setattr(scim.settings, "no_label", (3,))
    with pytest.raises(TypeError, match=r"scim.settings.no_label must be names, got \[3\]"):
        read_labels(["a"])
    monkeypatch.setenv("SCIM_NO_LABEL", "To be done, mine ,")
    assert Settings().no_label == ("To be done", "mine")


def test_names_of_studies_may_be_unknown_but_not_missing():
    read = read_names([" s1", "'s1'", "unknown", "", "nan", None, 2, "Doublet"])
    assert read.present.tolist() == [True, True, True, False, False, False, True, True]
    assert read.values.categories.tolist() == ["s1", "unknown", "2", "Doublet"]


def spoiled(labels, words):
    """Return labels of which every twentieth is one of the words in turn, or missing (`None`)."""
    labels = np.array(labels, dtype=object)
    rows = np.arange(3, len(labels), 20)
    labels[rows] = [None if words is None else words[i % len(words)] for i in range(len(rows))]
    return labels


def same_predictions(one, other, X):
    first, second = (transfer.predict(X, max_error=0.1) for transfer in (one, other))
    assert first.labels.tolist() == second.labels.tolist()
    np.testing.assert_array_equal(first.confidence, second.confidence)
    assert first.threshold == second.threshold
    return first


def test_a_reference_of_arrays():
    random = np.random.default_rng(0)
    types, studies = random.integers(0, 3, 480), np.array(["a", "b"])[random.integers(0, 2, 480)]
    X = random.normal(size=(3, 8))[types] + random.normal(scale=0.15, size=(480, 8))
    names = np.array(["T cell", "B cell", "monocyte"])[types]
    missing = LabelTransfer.fit(X, spoiled(names, None), studies)
    words = LabelTransfer.fit(X, spoiled(names, WORDS), studies)
    assert words.labels.tolist() == ["B cell", "T cell", "monocyte"]
    found = same_predictions(words, missing, X)
    assert (found.labels == names).mean() > 0.9
    assert LabelTransfer.fit(X, np.char.add(names, " "), studies).labels.tolist() == words.labels.tolist()
    blocked = words.predict(X, block=["Unknown", " 'T cell'"], max_error=1)
    assert "T cell" not in set(blocked.labels)
    with pytest.raises(ValueError, match="allow names 'Unknown', but the reference has no label"):
        words.predict(X, allow="Unknown")
    with pytest.raises(ValueError, match=r"No cell has a label; .* \(480 of 480 cells \(100.0 %\) have no label"):
        LabelTransfer.fit(X, np.full(480, "unknown"), studies)


def two_studies(words):
    """Return toy cells of two studies; 5 % of their labels are words, or missing."""
    studies = [fakes.cells(80, seed=seed) for seed in (2, 3)]
    for adata in studies:
        adata.obs["words"] = spoiled(adata.obs["cell_type"], ["Unknown", " 'T cell' "])
        adata.obs["missing"] = spoiled(adata.obs["cell_type"], [None, "T cell"])
        adata.obs["cell_type"] = spoiled(adata.obs["cell_type"], words)
    return studies


def atlas_of(path, studies, *columns):
    with scim.atlas.create(path, model=fakes.tiny_model()) as atlas:
        atlas.append(studies, study=["one", "two"], label_key="cell_type", obs_columns=columns)
        atlas.build_index()
    return path


@pytest.fixture(scope="module")
def without_labels(tmp_path_factory):
    """An atlas of which 5 % of the labels are missing; `words` and `missing` are the same labels."""
    return atlas_of(tmp_path_factory.mktemp("no_label") / "missing.scim", two_studies(None), "words", "missing")


def annotations(path, **how):
    query = fakes.cells(45, seed=9)
    scim.tl.embed(query, path)
    scim.tl.annotate(query, path, **how)
    return query.obs.filter(like="scim_label")


def test_an_atlas_with_words_is_one_with_missing_labels(without_labels, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="scim"):
        path = atlas_of(tmp_path / "words.scim", two_studies(WORDS))
    line = 'obs[\'cell_type\']: 4 of 80 cells (5.0 %) have no label ("Unknown", "Unassigned", "nan", "None")'
    assert line in caplog.messages
    pd.testing.assert_frame_equal(annotations(path, max_error=0.1), annotations(without_labels, max_error=0.1))
    with scim.atlas.open(path) as words, scim.atlas.open(without_labels) as missing:
        assert words.label_radius == missing.label_radius
        assert words.labels.names.tolist() == missing.labels.names.tolist()
        assert words.info()["unlabelled"] == 8
        assert words.label_transfer().calibration == missing.label_transfer().calibration


def test_an_atlas_that_was_built_with_a_word_as_a_type(without_labels, tmp_path, monkeypatch):
    """As earlier versions of scim built it: the word is stored, voted, and was part of the calibration."""
    path = atlas_of(tmp_path / "old.scim", two_studies(["Blob"]))
    with scim.atlas.open(path) as atlas:
        assert "Blob" in atlas.label_transfer().labels
        monkeypatch.setattr(scim.settings, "no_label", ("blob",))
        assert "Blob" not in atlas.label_transfer().labels
    how = {"max_error": 0.1, "expression": False}
    pd.testing.assert_frame_equal(annotations(path, **how), annotations(without_labels, **how))
    with scim.atlas.open(path, mode="w") as atlas, scim.atlas.open(without_labels) as missing:
        atlas.build_index()
        assert atlas.label_transfer().calibration == missing.label_transfer().calibration
        assert atlas.label_transfer().expression.labels.tolist() == missing.snapshot.expression.labels.tolist()


def test_another_column_of_labels(without_labels):
    how = {"max_error": 1, "allow": ["T cell", "B cell"]}
    words, missing = (annotations(without_labels, label_key=name, **how) for name in ("words", "missing"))
    pd.testing.assert_frame_equal(words, missing)
    assert set(words["scim_label"]) == {"T cell", "B cell"}


def test_a_blank_study_is_a_missing_one(tmp_path):
    adata = fakes.cells(9)
    with scim.atlas.create(tmp_path / "a.scim", model=fakes.tiny_model()) as atlas:
        for study, words in (("", r' \(""\)'), (" \u00a0", ".*"), ("nan", r' \("nan"\)'), (None, "")):
            adata.obs["s"] = [" one"] * 4 + ["'one'"] * 4 + [study]
            missing = r"obs\['s'\] has 1 missing values \(1 of 9 cells \(11.1 %\) have no study"
            with pytest.raises(
                ValueError, match=missing + words + r"\); every cell needs a study. Fill them, or leave"
            ):
                atlas.append(adata, study_key="s")
            missing = r"obs\['s'\] of 'study0' is missing for 1 labelled cells: 1 of 9 cells .* have no study"
            with pytest.raises(ValueError, match=missing), gathered(adata, label_key="cell_type", study_key="s"):
                pass
        with pytest.raises(ValueError, match="study must be a name, got ' '"):
            atlas.append(adata, study=" ")
        atlas.append(adata[:8], study_key="s")
        assert atlas.obs()["study"].tolist() == ["one"] * 8


def test_training_with_words_is_training_with_missing_labels():
    config = TrainConfig(n_steps=3, batch_size=24, n_members=1)
    how = {"label_key": "cell_type", "config": config, "model": ModelConfig(hidden=(8,), latent_dim=4), "rng": 0}
    words, missing = (scim.model.train(two_studies(given), **how) for given in (WORDS, None))
    assert words.labels == missing.labels == ("B cell", "T cell", "classical monocyte")
    for name, weights in missing.encoder.state_dict().items():
        np.testing.assert_array_equal(words.encoder.state_dict()[name].numpy(), weights.numpy(), err_msg=name)
    report = words.metadata["filters"]["data_sets"]
    assert report["study0"]["no_label"] == {"Unknown": 1, "Unassigned": 1, "nan": 1, "None": 1}


def test_evaluation_leaves_out_the_same_cells():
    for given in (WORDS, None):
        with gathered(two_studies(given), label_key="cell_type", study_key=None) as (sets, _):
            assert [data.n_cells for data in sets] == [76, 76]
            assert {label for data in sets for label in data.labels} == {"T cell", "B cell", "classical monocyte"}


def test_a_metric_of_rows():
    random = np.random.default_rng(0)
    label = np.array(["T cell", "B cell"])[np.arange(120) % 2]
    X = random.normal(size=(120, 4)) + (label == "T cell")[:, None]
    config = TrainConfig(objective="lda")
    words, missing = (learn_metric(X, spoiled(label, given), config=config, rng=0) for given in (WORDS, None))
    np.testing.assert_array_equal(words.M, missing.M)
    with pytest.raises(ValueError, match="studies must name one for each row with a label: 60 of 120 cells"):
        learn_metric(X, label, studies=["a", ""] * 60, config=config)


@pytest.mark.parametrize("word", WORDS)
def test_given_labels_that_annotations_are_compared_with(word, caplog):
    plain, words = annotated(), annotated()
    truth = plain.obs["truth"].astype(object)
    words.obs["truth"] = [f" '{label}'" if isinstance(label, str) else word for label in truth]
    with caplog.at_level(logging.INFO, logger="scim"):
        frame = scim.get.confusion(words, "truth")
    assert caplog.messages == [f"obs['truth']: 1 of 10 cells (10.0 %) have no label (\"{word}\")"]
    pd.testing.assert_frame_equal(frame, scim.get.confusion(plain, "truth"))
    pd.testing.assert_frame_equal(scim.get.reliability(words, "truth"), scim.get.reliability(plain, "truth"))
    pd.testing.assert_frame_equal(scim.get.selective_risk(words, "truth"), scim.get.selective_risk(plain, "truth"))
    words.obs["truth"] = word
    with pytest.raises(ValueError, match=r"has no label that is known; .* \(10 of 10 cells \(100.0 %\) have no label"):
        scim.get.confusion(words, "truth")


def test_a_group_of_cells_named_unknown_stays_a_group(without_labels):
    query = fakes.cells(30, seed=9)
    query.obs["cluster"] = ["Unknown", "nan", None] * 10
    scim.tl.embed(query, without_labels)
    scim.tl.annotate(query, without_labels, groupby="cluster", max_error=1)
    assert query.uns["scim_label"]["groups"]["group"].tolist() == ["Unknown", "nan"]
