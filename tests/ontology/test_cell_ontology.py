from __future__ import annotations

import pytest
from cellxgene_ontology_guide.ontology_parser import OntologyParser

from scim import ontology

NAMES = ["T cell", "natural killer cell", "classical monocyte", "CD4-positive, alpha-beta T cell", "hepatocyte"]


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


@pytest.mark.parametrize(
    "function",
    [
        ontology.term_name,
        ontology.ancestors,
        ontology.descendants,
        ontology.parents,
        ontology.children,
        ontology.siblings,
    ],
)
@pytest.mark.parametrize("term", ["T cell", "CL:9999999", "UBERON:0000178"])
def test_an_unknown_term_is_an_error(function, term):
    with pytest.raises(KeyError, match="is not an id of the Cell Ontology"):
        function(term)


@pytest.fixture(scope="module")
def parser():
    return OntologyParser()


@pytest.mark.parametrize("name", NAMES)
def test_parents_and_children_are_those_of_the_ontology(parser, name):
    term = ontology.term_id(name)
    listed = {other for other in parser.get_term_parents(term) if other.startswith("CL")}
    # The ontology may list a parent that is above another of its parents.
    assert ontology.parents(term) == {a for a in listed if not any(a in ontology.ancestors(b) for b in listed)}
    for child in ontology.children(term):
        assert term in ontology.parents(child)
    below = ontology.descendants(term)
    assert below == ontology.children(term).union(*(ontology.descendants(child) for child in ontology.children(term)))


def test_siblings_share_a_parent():
    cd4, cd8 = (ontology.term_id(f"{name}-positive, alpha-beta T cell") for name in ("CD4", "CD8"))
    assert cd8 in ontology.siblings(cd4)
    assert cd4 not in ontology.siblings(cd4)
    assert all(ontology.parents(other) & ontology.parents(cd4) for other in ontology.siblings(cd4))


def test_lowest_common_ancestors_by_hand():
    cd4, cd8 = (ontology.term_id(f"{name}-positive, alpha-beta T cell") for name in ("CD4", "CD8"))
    assert {ontology.term_name(term) for term in ontology.lowest_common_ancestors(cd4, cd8)} == {
        "mature alpha-beta T cell"
    }
    t_cell = ontology.term_id("T cell")
    assert ontology.lowest_common_ancestors(cd4, t_cell) == {t_cell}
    assert ontology.lowest_common_ancestors(cd4, ontology.term_id("hepatocyte")) <= ontology.ancestors(cd4)


def test_the_root_has_no_parents():
    assert ontology.parents("CL:0000000") == ontology.siblings("CL:0000000") == frozenset()
