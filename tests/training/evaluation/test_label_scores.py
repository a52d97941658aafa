from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from scim import ontology
from scim.training.evaluation import label_scores
from scim.training.evaluation._label_scores import level_terms, roll_up

T, CD4, CD8, B, NK = (
    "T cell",
    "CD4-positive, alpha-beta T cell",
    "CD8-positive, alpha-beta T cell",
    "B cell",
    "natural killer cell",
)


def row(scores, label):
    return scores.labels.set_index("label").loc[label]


def test_by_hand():
    # B: 2 of 3 found, 1 wrongly given -> P 2/3, R 2/3; NK: 1 of 2 found, 1 wrongly given -> 1/2, 1/2
    scores = label_scores([B, B, B, NK, NK], [B, B, NK, NK, B])
    assert scores.summary["accuracy"] == 3 / 5
    assert scores.summary["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert row(scores, B)[["precision", "recall", "f1"]].tolist() == pytest.approx([2 / 3] * 3)
    assert scores.confusion.values.tolist() == [[B, B, 2], [B, NK, 1], [NK, B, 1], [NK, NK, 1]]
    assert scores.labels["seen"].all()


def test_a_descendant_is_right_and_an_ancestor_is_not():
    scores = label_scores([T, T, CD4, B], [CD4, T, T, B])
    assert scores.summary["accuracy"] == 2 / 4
    assert scores.summary["accuracy_ontology"] == 3 / 4
    # T: both found; the CD4 cell called T is a T cell, so it is no false T. CD4: not found.
    assert row(scores, T)[["precision_ontology", "recall_ontology", "f1_ontology"]].tolist() == [1, 1, 1]
    assert row(scores, CD4)["f1_ontology"] == 0
    assert scores.summary["macro_f1_ontology"] == pytest.approx(2 / 3)


def test_a_wrong_descendant_is_a_false_positive():
    scores = label_scores([T, T, B], [CD4, CD8, CD4])
    # T: 2 right, and a B cell was called a kind of T cell
    assert row(scores, T)["precision_ontology"] == pytest.approx(2 / 3)
    assert scores.summary["macro_f1_ontology"] == pytest.approx((2 * 2 / (2 * 2 + 1)) / 2)


def test_synonyms_are_one_label():
    scores = label_scores(
        ["CL:0000084", "T lymphocyte", "t cell", "my cells"], ["T cell", "T cell", "CL_0000084", "my cells"]
    )
    assert scores.summary["accuracy"] == scores.summary["macro_f1"] == 1
    assert scores.labels["label"].tolist() == [T, "my cells"]


def test_unknown_is_never_right_and_is_reported():
    scores = label_scores([B, B, NK, NK], pd.Categorical([B, None, NK, NK]))
    assert scores.summary["unknown"] == 1 / 4
    assert scores.summary["accuracy"] == 3 / 4
    assert row(scores, B)[["precision", "recall"]].tolist() == [1, 1 / 2]
    pairs = scores.confusion
    assert pairs[pairs["predicted"].isna()][["true", "n"]].values.tolist() == [[B, 1]]


def test_cells_without_a_true_label_are_left_out():
    scores = label_scores([B, np.nan, None, NK], [B, B, B, B])
    assert scores.summary["n_cells"] == 2
    assert row(scores, B)["precision"] == 1 / 2


def test_labels_that_training_lacks_are_scored_separately():
    scores = label_scores([B, B, NK, NK], [B, B, B, B], seen=[B])
    assert scores.summary["accuracy"] == scores.summary["macro_f1"] == 1  # over the B cells
    assert scores.summary["accuracy_all"] == 1 / 2
    assert scores.summary["macro_f1_all"] == pytest.approx((2 * 0.5 / 1.5) / 2)
    assert [scores.summary[key] for key in ("n_labels_seen", "n_labels_unseen", "n_cells_unseen")] == [1, 1, 2]
    assert scores.labels["seen"].tolist() == [True, False]
    assert row(scores, NK)["recall"] == 0


def test_a_label_can_be_predicted_by_its_descendants():
    scores = label_scores([T, B], [CD4, B], seen=[CD4, B])
    assert scores.summary["n_labels_unseen"] == 1
    assert scores.labels[["seen", "seen_ontology"]].values.tolist() == [[True, True], [False, True]]
    assert (scores.summary["macro_f1"], scores.summary["macro_f1_all"]) == (1, 1 / 2)
    assert (scores.summary["macro_f1_ontology"], scores.summary["macro_f1_ontology_all"]) == (1, 1)


def test_nothing_seen_is_nan():
    scores = label_scores([B, B], [NK, NK], seen=[NK])
    assert np.isnan(scores.summary["accuracy"])
    assert np.isnan(scores.summary["macro_f1"])
    assert scores.summary["accuracy_all"] == 0


words = st.sampled_from(["a", "b", "c", "d", None])


@given(st.lists(st.tuples(st.sampled_from("abc"), words), min_size=1, max_size=40))
def test_scores_of_free_text_equal_those_of_scikit_learn(pairs):
    true, predicted = (list(part) for part in zip(*pairs, strict=True))
    scores = label_scores(true, predicted)
    known = ["?" if word is None else word for word in predicted]
    labels = sorted(set(true))
    assert scores.summary["accuracy"] == pytest.approx(accuracy_score(true, known))
    f1 = f1_score(true, known, labels=labels, average="macro", zero_division=0)
    expected = precision_recall_fscore_support(true, known, labels=labels, zero_division=0)
    for suffix in ("", "_ontology"):  # free words are related to nothing
        assert scores.summary[f"macro_f1{suffix}"] == pytest.approx(f1)
        columns = [f"{name}{suffix}" for name in ("precision", "recall", "f1")]
        np.testing.assert_allclose(scores.labels[columns].T, expected[:3])


terms = st.sampled_from([T, CD4, CD8, B, NK, "lymphocyte"])


@given(st.lists(st.tuples(terms, terms), min_size=1, max_size=30))
def test_ontology_scores_equal_those_of_a_loop(pairs):
    scores = label_scores(*zip(*pairs, strict=True))

    def includes(label):
        term = ontology.term_id(label)
        return {label} | {ontology.term_name(below) for below in ontology.descendants(term)}

    for label in scores.labels["label"]:
        hits = sum(true == label and predicted in includes(label) for true, predicted in pairs)
        false = sum(
            predicted in includes(label) and predicted not in includes(true) and true not in includes(label)
            for true, predicted in pairs
        )
        n = sum(true == label for true, _ in pairs)
        assert row(scores, label)["f1_ontology"] == pytest.approx(2 * hits / (hits + false + n))
    right = sum(predicted in includes(true) for true, predicted in pairs)
    assert scores.summary["accuracy_ontology"] == pytest.approx(right / len(pairs))


@pytest.mark.parametrize(
    ("true", "predicted", "match"),
    [([B], [B, B], "as long as each other, got 1 and 2"), ([None, np.nan], [B, B], "No cell has a true label")],
)
def test_bad_input_is_named(true, predicted, match):
    with pytest.raises(ValueError, match=match):
        label_scores(true, predicted)


def test_roll_up_to_the_most_specific_level():
    levels = level_terms("levels", ["lymphocyte", CD4, "CL:0000084"])
    labels = np.array(
        [CD4, CD8, "B cell", "naive thymus-derived CD4-positive, alpha-beta T cell", "x", None], dtype=object
    )
    assert roll_up(labels, levels).tolist() == [CD4, T, "lymphocyte", CD4, "x", None]
    assert roll_up(labels, []) is labels
