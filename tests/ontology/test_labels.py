from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scim.ontology import is_descendant, sort_terms, standardize, term_id

T, CD4, CD8 = "T cell", "CD4-positive, alpha-beta T cell", "CD8-positive, alpha-beta T cell"


def test_one_name_for_all_words_of_a_term():
    words = ["CL:0000084", "t lymphocyte", np.nan, "my cells", None]
    expected = [T, T, None, "my cells", None]
    assert standardize(words).tolist() == expected
    assert standardize(pd.Categorical(words)).tolist() == expected
    assert standardize(pd.Series(words, dtype="str")).tolist() == expected
    assert standardize([]).tolist() == []


def test_below_is_the_label_or_a_descendant():
    assert is_descendant([T, CD4, "x"], [CD4, T, "x", "y"]).tolist() == [
        [True, True, False, False],
        [True, False, False, False],
        [False, False, True, False],
    ]


def test_below_reads_ids_and_synonyms():
    assert is_descendant(["CL:0000084"], ["T-lymphocyte", CD4, "B cell"]).tolist() == [[True, True, False]]


def test_a_name_that_the_ontology_gave_up_is_a_free_word():
    assert term_id("obsolete native cell") is None
    assert standardize(["obsolete native cell"]).tolist() == ["obsolete native cell"]


def test_kin_stand_together_each_behind_its_ancestors():
    shuffled = ["pancreatic D cell", CD8, "odd word", "monocyte", "B cell", CD4, "pancreatic A cell", "platelet", T]
    shuffled += ["non-classical monocyte", "another", "natural killer cell"]
    expected = [T, CD4, CD8, "natural killer cell", "B cell", "monocyte", "non-classical monocyte", "platelet"]
    expected += ["pancreatic D cell", "pancreatic A cell", "another", "odd word"]
    assert sort_terms(shuffled) == expected
    assert sort_terms(shuffled[::-1]) == expected


def test_words_of_one_term_are_neighbours():
    assert sort_terms(["B cell", "CL:0000084", CD4, "T cell"]) == ["CL:0000084", "T cell", CD4, "B cell"]


@pytest.mark.parametrize("labels", [[], ["T cell"], ["b", "a"]])
def test_few_labels(labels):
    assert sort_terms(labels) == sorted(labels)
