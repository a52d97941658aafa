from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scim.ontology import is_descendant, related, sort_terms, standardize, term_id

T, CD4, CD8 = "T cell", "CD4-positive, alpha-beta T cell", "CD8-positive, alpha-beta T cell"


def test_synonyms_have_one_name():
    words = ["CL:0000084", "t lymphocyte", np.nan, "my cells", None]
    expected = [T, T, None, "my cells", None]
    assert standardize(words).tolist() == expected
    assert standardize(pd.Categorical(words)).tolist() == expected
    assert standardize(pd.Series(words, dtype="str")).tolist() == expected
    assert standardize([]).tolist() == []


def test_is_descendant_of_the_label_itself_and_of_descendants():
    assert is_descendant([T, CD4, "x"], [CD4, T, "x", "y"]).tolist() == [
        [True, True, False, False],
        [True, False, False, False],
        [False, False, True, False],
    ]


def test_is_descendant_reads_ids_and_synonyms():
    assert is_descendant(["CL:0000084"], ["T-lymphocyte", CD4, "B cell"]).tolist() == [[True, True, False]]


def test_related_by_hand():
    labels = ["T cell", "CD4-positive, alpha-beta T cell", "B cell", "a free word", "a free word"]
    expected = np.eye(5, dtype=bool)
    expected[0, 1] = expected[1, 0] = True
    expected[3, 4] = expected[4, 3] = True
    np.testing.assert_array_equal(related(labels), expected)


def test_types_at_other_levels_are_related_and_clusters_are_not():
    names = ["T cell", "B cell", "CD8-positive, alpha-beta T cell", "cluster 3"]
    expected = [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(related(names), np.array(expected, dtype=bool))


def test_an_obsolete_name_is_free_text():
    assert term_id("obsolete native cell") is None
    assert standardize(["obsolete native cell"]).tolist() == ["obsolete native cell"]


def test_related_labels_are_adjacent_each_behind_its_ancestors():
    shuffled = ["pancreatic D cell", CD8, "odd word", "monocyte", "B cell", CD4, "pancreatic A cell", "platelet", T]
    shuffled += ["non-classical monocyte", "another", "natural killer cell"]
    expected = [T, CD4, CD8, "natural killer cell", "B cell", "monocyte", "non-classical monocyte", "platelet"]
    expected += ["pancreatic D cell", "pancreatic A cell", "another", "odd word"]
    assert sort_terms(shuffled) == expected
    assert sort_terms(shuffled[::-1]) == expected


def test_words_of_one_term_are_adjacent():
    assert sort_terms(["B cell", "CL:0000084", CD4, "T cell"]) == ["CL:0000084", "T cell", CD4, "B cell"]


@pytest.mark.parametrize("labels", [[], ["T cell"], ["b", "a"]])
def test_few_labels(labels):
    assert sort_terms(labels) == sorted(labels)
