from __future__ import annotations

import numpy as np

from helpers.voting import tree_of
from scim.label_transfer import LabelTree

T, CD4, CD8, B, MONO = (
    "T cell",
    "CD4-positive, alpha-beta T cell",
    "CD8-positive, alpha-beta T cell",
    "B cell",
    "monocyte",
)


def path(tree, label):
    return [tree.names[term] for term in tree.paths[list(tree.names).index(label)] if term >= 0]


def test_the_way_up_joins_ever_more_labels():
    tree = tree_of(T, CD4, CD8, B, MONO, "my cells")
    assert path(tree, CD4) == [CD4, "mature alpha-beta T cell", T, "lymphocyte", "mononuclear leukocyte"]
    assert path(tree, MONO) == [MONO, "mononuclear leukocyte"]
    assert path(tree, "my cells") == ["my cells"]


def test_a_term_above_all_labels_says_nothing():
    assert path(tree_of(CD4, CD8), CD4) == [CD4]
    assert path(tree_of(CD4, CD8, B), CD4) == [CD4, "mature alpha-beta T cell"]


def test_who_is_inside_and_above():
    tree = tree_of(T, CD4, B)
    assert tree.inside[0].tolist() == [True, True, False]
    assert tree.inside[1].tolist() == [False, True, False]
    assert tree.above[1].tolist() == [True, False, False]
    assert tree.kin.tolist() == [[True, True, False], [True, True, False], [False, False, True]]


def test_two_words_for_one_term_are_one_type():
    tree = LabelTree.of(["T cell", "T lymphocyte", "B cell"], ["CL:0000084", "CL:0000084", "CL:0000236"])
    assert tree.kin[0, 1]
    assert not tree.above.any()


def test_terms_can_be_asked_for():
    tree = LabelTree.of([CD4, CD8], ["CL:0000624", "CL:0000625"], also=["CL:0000084", "CL:0000540"])
    assert path(tree, CD4) == [CD4, T]  # and no neuron, which no label is
    assert tree.within[0, 2]
    assert not tree.within[2, 0]


def test_words_that_say_little_are_passed_over():
    tree = tree_of("pancreatic A cell", "pancreatic D cell", "platelet", "mast cell", "fibroblast")
    assert not {"eukaryotic cell", "secretory cell", "biogenic amine secreting cell"} & set(tree.names)
    assert "pancreatic endocrine cell" in tree.names
    assert np.all(tree.paths[:, 0] == np.arange(5))
