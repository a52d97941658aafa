from __future__ import annotations

import numpy as np

from scim.training.evaluation._terms import known_terms, lifted

T, CD4, CD8 = "T cell", "CD4-positive, alpha-beta T cell", "CD8-positive, alpha-beta T cell"


def test_lifted_to_the_most_specific_level():
    levels = known_terms("levels", ["lymphocyte", CD4, "CL:0000084"])
    labels = np.array(
        [CD4, CD8, "B cell", "naive thymus-derived CD4-positive, alpha-beta T cell", "x", None], dtype=object
    )
    assert lifted(labels, levels).tolist() == [CD4, T, "lymphocyte", CD4, "x", None]
    assert lifted(labels, []) is labels
