from __future__ import annotations

import numpy as np
import pandas as pd

from scim.model.evaluation._terms import below, known_terms, lifted, named

T, CD4, CD8 = "T cell", "CD4-positive, alpha-beta T cell", "CD8-positive, alpha-beta T cell"


def test_one_name_for_all_words_of_a_term():
    words = ["CL:0000084", "t lymphocyte", np.nan, "my cells", None]
    expected = [T, T, None, "my cells", None]
    assert named(words).tolist() == expected
    assert named(pd.Categorical(words)).tolist() == expected
    assert named(pd.Series(words, dtype="str")).tolist() == expected
    assert named([]).tolist() == []


def test_below_is_the_label_or_a_descendant():
    assert below([T, CD4, "x"], [CD4, T, "x", "y"]).tolist() == [
        [True, True, False, False],
        [True, False, False, False],
        [False, False, True, False],
    ]


def test_lifted_to_the_most_specific_level():
    levels = known_terms("levels", ["lymphocyte", CD4, "CL:0000084"])
    labels = np.array(
        [CD4, CD8, "B cell", "naive thymus-derived CD4-positive, alpha-beta T cell", "x", None], dtype=object
    )
    assert lifted(labels, levels).tolist() == [CD4, T, "lymphocyte", CD4, "x", None]
    assert lifted(labels, []) is labels
