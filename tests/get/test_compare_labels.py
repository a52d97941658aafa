"""Frames that compare true with annotated labels; the values are counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scim
from helpers.annotated import annotated

CD4 = "CD4-positive, alpha-beta T cell"


@pytest.fixture
def adata():
    return annotated()


def test_reliability_by_hand(adata):
    frame = scim.get.reliability(adata, "truth", n_bins=4)
    assert frame["low"].tolist() == [0, 0.25, 0.5, 0.75]
    assert frame["high"].tolist() == [0.25, 0.5, 0.75, 1]
    assert frame["n"].tolist() == [0, 1, 1, 6]  # an edge belongs to the bin above it, 1 to the last
    expected = [np.nan, 0.25, 0.7, (0.95 + 0.95 + 0.91 + 1 + 0.93 + 0.75) / 6]
    np.testing.assert_allclose(frame["confidence"], expected, rtol=1e-6)
    np.testing.assert_allclose(frame["right"], [np.nan, 1, 1, 4 / 6])
    np.testing.assert_allclose(frame["broader"], [np.nan, 0, 0, 1 / 6])
    error = (0.75 + 0.3 + 6 * abs(4 / 6 - expected[3])) / 8
    expected = {"calibration_error": error, "right": 6 / 8, "broader": 1 / 8, "confidence": 6.44 / 8}
    expected |= {"n": 8, "n_unknown": 1}
    assert {name: frame.attrs[name] for name in expected} == pytest.approx(expected)
    assert frame.attrs["ancestors"] == "right"


def test_an_ancestor_is_wrong_on_request(adata):
    frame = scim.get.reliability(adata, "truth", n_bins=1, ancestors="wrong")
    assert frame["right"].item() == 5 / 8
    assert frame["broader"].item() == 1 / 8
    assert frame.attrs["calibration_error"] == pytest.approx(6.44 / 8 - 5 / 8)


def test_the_edges_of_ten_bins_are_decimal_tenths(adata):
    adata.obs["truth"] = adata.obs["scim_label"] = pd.Categorical(["T cell"] * 10)
    adata.obs["scim_label_confidence"] = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], np.float32)
    del adata.obs["scim_label_id"]
    assert scim.get.reliability(adata, "truth")["n"].tolist() == [1] * 10


def test_the_interval_is_wilsons(adata):
    frame = scim.get.reliability(adata, "truth", n_bins=4)
    interval = stats.binomtest(4, 6).proportion_ci(method="wilson")
    np.testing.assert_allclose(frame.loc[3, ["right_low", "right_high"]].astype(float), interval, rtol=1e-9)
    interval = stats.binomtest(1, 1).proportion_ci(method="wilson")
    np.testing.assert_allclose(frame.loc[1, ["right_low", "right_high"]].astype(float), interval, rtol=1e-9)
    assert frame.loc[0, ["right_low", "right_high"]].isna().all()


def test_all_cells_are_unknown(adata):
    adata.obs["scim_label"] = pd.Categorical([None] * 10)
    frame = scim.get.reliability(adata, "truth")
    assert frame["n"].sum() == 0
    assert np.isnan(frame.attrs["calibration_error"])
    assert frame.attrs["n_unknown"] == 9
    risk = scim.get.selective_risk(adata, "truth")
    assert risk.empty
    assert risk.columns.tolist() == ["confidence", "coverage", "error", "broader"]


def test_selective_risk_by_hand(adata):
    frame = scim.get.selective_risk(adata, "truth")
    np.testing.assert_allclose(frame["confidence"], [1, 0.95, 0.93, 0.91, 0.75, 0.7, 0.25], rtol=1e-6)
    np.testing.assert_allclose(frame["coverage"], np.array([1, 3, 4, 5, 6, 7, 8]) / 9)
    np.testing.assert_allclose(frame["error"], [0, 0, 1 / 4, 1 / 5, 2 / 6, 2 / 7, 2 / 8])
    np.testing.assert_allclose(frame["broader"], [0, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 7, 1 / 8])
    strict = scim.get.selective_risk(adata, "truth", ancestors="wrong")
    np.testing.assert_allclose(strict["error"], frame["error"] + frame["broader"])


def test_confusion_by_hand(adata):
    frame = scim.get.confusion(adata, "truth")
    assert frame["given"].cat.categories.tolist() == ["T cell", CD4, "B cell", "monocyte", "my cells"]
    assert frame["annotated"].cat.categories.tolist() == ["T cell", CD4, "B cell", "monocyte", "my cells", "unknown"]
    found = {(row.given, row.annotated): (row.n, row.share, row.relation) for row in frame.itertuples()}
    assert found == {
        ("T cell", CD4): (1, 1.0, "narrower"),
        (CD4, "T cell"): (1, 0.5, "broader"),
        (CD4, CD4): (1, 0.5, "same"),
        ("B cell", "B cell"): (1, 0.5, "same"),
        ("B cell", "monocyte"): (1, 0.5, "other"),
        ("monocyte", "B cell"): (1, pytest.approx(1 / 3), "other"),
        ("monocyte", "monocyte"): (1, pytest.approx(1 / 3), "same"),
        ("monocyte", "unknown"): (1, pytest.approx(1 / 3), "unknown"),
        ("my cells", "my cells"): (1, 1.0, "same"),
    }


@pytest.mark.parametrize("word", ["unknown", "na"])  # as the CELLxGENE schema writes cells without a type
def test_a_word_for_unknown_is_no_label(adata, word):
    expected = scim.get.confusion(adata, "truth")
    shares = scim.get.vote_shares(adata)
    adata.obs["truth"] = adata.obs["truth"].astype(object).fillna(word)
    adata.obs["scim_label"] = adata.obs["scim_label"].astype(object).fillna(word)
    pd.testing.assert_frame_equal(scim.get.confusion(adata, "truth"), expected)
    pd.testing.assert_frame_equal(scim.get.vote_shares(adata), shares)
    assert scim.get.reliability(adata, "truth").attrs["n_unknown"] == 1


def test_the_id_of_an_annotated_label_precedes_its_name(adata):
    adata.obs["scim_label"] = adata.obs["scim_label"].cat.rename_categories({"B cell": "B-Zellen"})
    frame = scim.get.confusion(adata, "truth")
    assert "B cell" in frame["annotated"].cat.categories
    del adata.obs["scim_label_id"]
    assert "B-Zellen" in scim.get.confusion(adata, "truth")["annotated"].cat.categories


def test_vote_shares_of_groups_by_hand(adata):
    frame = scim.get.vote_shares(adata, "group")
    assert frame["group"].cat.categories.tolist() == ["b", "a", "c"]
    found = {(row.group, row.label): row.share for row in frame.itertuples()}
    expected = {("a", CD4): (0.9 + 0.4 + 0.8) / 3, ("a", "T cell"): (0.1 + 0.6 + 0.1) / 3}
    expected |= {("b", "B cell"): (1 + 0.4) / 3, ("b", "monocyte"): 0.5 / 3, ("b", "my cells"): 1 / 3}
    expected |= {("c", "monocyte"): (0.7 + 0.4 + 0.4) / 3, ("c", "B cell"): (0.6 + 0.3) / 3}
    assert found == pytest.approx(expected)
    assert frame.groupby("group", observed=True)["share"].apply(lambda s: s.is_monotonic_decreasing).all()
    assert frame["n_cells"].eq(3).all()
    ids = dict(zip(frame["label"], frame["label_id"], strict=True))
    assert (ids["B cell"], ids["my cells"]) == ("CL:0000236", "")


def test_vote_shares_of_labels_have_the_unknown_last(adata):
    frame = scim.get.vote_shares(adata)
    assert frame["group"].cat.categories.tolist() == ["T cell", CD4, "B cell", "monocyte", "my cells", "unknown"]
    unknown = frame[frame["group"] == "unknown"]
    assert unknown["label"].tolist() == ["monocyte", "B cell"]
    np.testing.assert_allclose(unknown["share"], [0.4, 0.3], rtol=1e-6)


def test_the_input_is_unchanged(adata):
    before = adata.copy()
    for getter in (scim.get.reliability, scim.get.selective_risk, scim.get.confusion, scim.get.vote_shares):
        getter(adata, "truth")
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert set(adata.uns["scim_label"]) == set(before.uns["scim_label"])


GETTERS = [scim.get.reliability, scim.get.selective_risk, scim.get.confusion]


@pytest.mark.parametrize("getter", GETTERS)
def test_missing_columns_and_keys(adata, getter):
    with pytest.raises(KeyError, match=r"obs\['cell_type'\] not found. Present: \['truth'"):
        getter(adata, "cell_type")
    with pytest.raises(KeyError, match=r"obs\['other'\] not found; run scim.tl.annotate\(adata\) first"):
        getter(adata, "truth", key="other")
    with pytest.raises(TypeError, match="Expected an AnnData, got DataFrame"):
        getter(adata.obs, "truth")
    adata.obs["truth"] = pd.Categorical([None] * 10)
    with pytest.raises(
        ValueError, match=r"obs\['truth'\] has no label that is known; expected the label of at least one"
    ):
        getter(adata, "truth")


@pytest.mark.parametrize("getter", GETTERS[:2])
def test_confidence_and_rule_are_checked(adata, getter):
    with pytest.raises(ValueError, match=r"ancestors must be one of \['right', 'wrong'\], got 'maybe'"):
        getter(adata, "truth", ancestors="maybe")
    adata.obs["scim_label_confidence"] *= 100
    with pytest.raises(ValueError, match="must be between 0 and 1, got 25.0 to 100.0; annotate the cells again"):
        getter(adata, "truth")
    del adata.obs["scim_label_confidence"]
    with pytest.raises(KeyError, match=r"obs\['scim_label_confidence'\] not found; run scim.tl.annotate"):
        getter(adata, "truth")


@pytest.mark.parametrize(("n_bins", "error"), [(0, ValueError), (2.5, TypeError), (True, TypeError)])
def test_bins_are_counted(adata, n_bins, error):
    with pytest.raises(error, match="n_bins must be"):
        scim.get.reliability(adata, "truth", n_bins=n_bins)


def test_votes_that_are_not_there(adata):
    with pytest.raises(KeyError, match=r"obs\['leiden'\] not found. Present:"):
        scim.get.vote_shares(adata, "leiden")
    with pytest.raises(KeyError, match=r"uns\['other'\] holds no annotation; run scim.tl.annotate\(adata\) first"):
        scim.get.vote_shares(adata, key="other")
    adata.obs["group"] = pd.Categorical([None] * 10)
    with pytest.raises(ValueError, match=r"obs\['group'\] has only missing values"):
        scim.get.vote_shares(adata, "group")


def test_names_that_are_not_in_the_ontology(tmp_path):
    adata = annotated()
    adata.obs["words"] = "a word of mine"
    with pytest.raises(
        ValueError,
        match=r"No value of obs\['words'\] is a term of the Cell Ontology: \['a word of mine'\]. Map them first: ",
    ):
        scim.get.reliability(adata, "words")
