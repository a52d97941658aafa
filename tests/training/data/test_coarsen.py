from __future__ import annotations

import numpy as np
import pytest

from scim import ontology
from scim.training.data._filters import coarsen

T, CD4, CD8, B = "T cell", "CD4-positive, alpha-beta T cell", "CD8-positive, alpha-beta T cell", "B cell"


def moves(table, min_studies=2):
    """Coarsen labels given as (word, study, n cells); new labels by name."""
    labels = np.repeat(np.array([word for word, _, _ in table], dtype=object), [n for _, _, n in table])
    studies = np.repeat(np.array([study for _, study, _ in table], dtype=object), [n for _, _, n in table])
    found = coarsen(labels, studies, min_studies)
    return {word: None if term is None else ontology.term_name(term) for word, term in found.items()}


def test_rare_siblings_become_their_parent():
    assert moves([(CD4, "a", 3), (CD8, "b", 3)]) == {CD4: "mature alpha-beta T cell", CD8: "mature alpha-beta T cell"}


def test_rare_cousins_become_a_common_ancestor():
    assert moves([(CD8, "a", 3), (B, "b", 3)]) == {CD8: "lymphocyte", B: "lymphocyte"}


def test_enough_studies_stay():
    """The rule of the paper is for labels of one study; a label of two studies is unchanged."""
    assert moves([(CD4, "a", 1), (CD4, "b", 1), (CD8, "a", 9), (CD8, "b", 9), (T, "a", 5), (T, "b", 5)]) == {}
    assert moves([(CD4, "a", 1), (CD4, "b", 1), (CD8, "a", 9)]) == {CD8: "mature alpha-beta T cell"}
    assert moves([("mine", "a", 1), ("mine", "b", 1)]) == {}


def test_texts_for_one_term_are_counted_together():
    assert moves([("T cell", "a", 1), ("CL:0000084", "b", 1)]) == {}
    assert moves([("T cell", "a", 1), ("CL:0000084", "a", 1), (B, "b", 1)]) == {
        "T cell": "lymphocyte",
        "CL:0000084": "lymphocyte",
        B: "lymphocyte",
    }


def test_a_rare_child_joins_a_label_above_it():
    assert moves([(CD8, "a", 3), (T, "a", 1), (T, "b", 1)]) == {CD8: T}


def test_a_rare_parent_stays_when_its_child_joins_it():
    """Otherwise the child would get a label that no cell has."""
    assert moves([(T, "a", 3), (CD8, "b", 3)]) == {CD8: T}


def test_a_rare_parent_stays_above_a_child_with_enough_studies():
    assert moves([(T, "a", 3), (CD8, "b", 3), (CD8, "c", 3)]) == {}


def test_a_rare_label_without_ancestors_is_left_out():
    assert moves([("mine", "a", 3), (B, "a", 1), (B, "b", 1)]) == {"mine": None}
    assert moves([(B, "a", 3)]) == {B: None}


@pytest.mark.parametrize("other", ["neuron", "erythrocyte"])
def test_unspecific_terms_are_no_labels(other):
    """T cells and neurons are cells, and eukaryotic ones; blood cells are at least haematopoietic."""
    found = moves([(T, "a", 3), (other, "b", 3)])
    assert set(found.values()) == ({None} if other == "neuron" else {"hematopoietic cell"})


def test_more_studies_can_be_required():
    table = [(CD4, "a", 1), (CD4, "b", 1), (CD8, "c", 1), (B, "a", 1), (B, "b", 1), (B, "c", 1)]
    assert moves(table, 3) == {CD4: "mature alpha-beta T cell", CD8: "mature alpha-beta T cell"}
    assert set(moves(table, 4).values()) == {None}


def test_every_label_that_is_left_has_its_studies():
    """At the label or its descendants, for any labels: random tables of real terms."""
    names = [T, CD4, CD8, B, "naive B cell", "memory B cell", "monocyte", "classical monocyte", "natural killer cell",
             "platelet", "pancreatic A cell", "mine"]  # fmt: skip
    for seed in range(25):
        random = np.random.default_rng(seed)
        n = int(random.integers(2, 25))
        labels = random.choice(np.array(names, dtype=object), n)
        studies = random.choice(np.array(["a", "b", "c"], dtype=object), n)
        found = coarsen(labels, studies, 2)
        before = {label: set(studies[labels == label]) for label in set(labels)}
        for label, term in found.items():
            assert len(before[label]) < 2
            if term is not None:
                below = [w for w in before if ontology.term_id(w) in {term, *ontology.descendants(term)}]
                assert ontology.term_id(label) in ontology.descendants(term)
                assert len(set().union(*(before[w] for w in below))) >= 2
