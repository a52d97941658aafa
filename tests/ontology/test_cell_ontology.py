from __future__ import annotations

import numpy as np
import pytest

from scim import ontology


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("CL:0000084", "CL:0000084"),
        ("CL_0000084", "CL:0000084"),
        ("T cell", "CL:0000084"),
        (" t CELL ", "CL:0000084"),
        ("T-lymphocyte", "CL:0000084"),  # an exact synonym
        ("CL:9999999", None),
        ("a free word", None),
    ],
)
def test_ids_of_labels(label, expected):
    assert ontology.term_id(label) == expected


def test_ancestors_and_descendants_mirror_each_other():
    assert ontology.term_id("lymphocyte") in ontology.ancestors("CL:0000084")
    assert "CL:0000084" in ontology.descendants(ontology.term_id("lymphocyte"))
    assert "CL:0000084" not in ontology.ancestors("CL:0000084") | ontology.descendants("CL:0000084")


def test_kin_by_hand():
    labels = ["T cell", "CD4-positive, alpha-beta T cell", "B cell", "a free word", "a free word"]
    expected = np.eye(5, dtype=bool)
    expected[0, 1] = expected[1, 0] = True
    expected[3, 4] = expected[4, 3] = True
    np.testing.assert_array_equal(ontology.related(labels), expected)


@pytest.mark.parametrize("ask", [ontology.term_name, ontology.ancestors, ontology.descendants])
@pytest.mark.parametrize("term", ["T cell", "CL:9999999", "UBERON:0000178"])
def test_a_term_that_is_none(ask, term):
    with pytest.raises(KeyError, match="is not an id of the Cell Ontology"):
        ask(term)
