from __future__ import annotations

import numpy as np
import pytest

from helpers.references import tree_of
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


def test_terms_of_a_path_cover_more_and_more_labels():
    tree = tree_of(T, CD4, CD8, B, MONO, "my cells")
    assert path(tree, CD4) == [CD4, "mature alpha-beta T cell", T, "lymphocyte", "mononuclear leukocyte"]
    assert path(tree, MONO) == [MONO, "mononuclear leukocyte"]
    assert path(tree, "my cells") == ["my cells"]


def test_a_term_above_all_labels_is_left_out():
    assert path(tree_of(CD4, CD8), CD4) == [CD4]
    assert path(tree_of(CD4, CD8, B), CD4) == [CD4, "mature alpha-beta T cell"]


def test_inside_above_and_related():
    tree = tree_of(T, CD4, B)
    assert tree.inside[0].tolist() == [True, True, False]
    assert tree.inside[1].tolist() == [False, True, False]
    assert tree.above[1].tolist() == [True, False, False]
    assert tree.related.tolist() == [[True, True, False], [True, True, False], [False, False, True]]


def test_synonyms_of_one_term_are_one_type():
    tree = LabelTree.of(["T cell", "T lymphocyte", "B cell"], ["CL:0000084", "CL:0000084", "CL:0000236"])
    assert tree.related[0, 1]
    assert not tree.above.any()


def test_terms_can_be_kept():
    tree = LabelTree.of([CD4, CD8], ["CL:0000624", "CL:0000625"], keep=["CL:0000084", "CL:0000540"])
    assert path(tree, CD4) == [CD4, T]  # and no neuron, which no label is
    assert tree.within[0, 2]
    assert not tree.within[2, 0]


def test_uninformative_terms_are_left_out():
    tree = tree_of("pancreatic A cell", "pancreatic D cell", "platelet", "mast cell", "fibroblast")
    assert not {"eukaryotic cell", "secretory cell", "biogenic amine secreting cell"} & set(tree.names)
    assert "pancreatic endocrine cell" in tree.names
    assert np.all(tree.paths[:, 0] == np.arange(5))


def test_labels_are_chosen_by_names_and_terms():
    tree = tree_of(T, CD4, CD8, B, MONO, "my cells")
    assert tree.choose(None, None) is None
    assert tree.labels[tree.choose("T cell", None)].tolist() == [T, CD4, CD8]
    assert tree.labels[tree.choose(["CL:0000542", "my cells"], CD8)].tolist() == [T, CD4, B, "my cells"]
    with pytest.raises(ValueError, match="allow names 'neuron', but the reference has no label"):
        tree.choose("neuron", None)
    with pytest.raises(ValueError, match="block names 'my cell'.*did you mean 'my cells'"):
        tree.choose(None, "my cell")
    with pytest.raises(ValueError, match="leave no label of the reference"):
        tree.choose("T cell", "lymphocyte")


def test_levels():
    tree = tree_of(T, CD4, CD8, B, MONO, "my cells")
    same, allowed = tree.at_level(None)
    assert same is tree
    assert allowed.all()
    assert tree.names[tree.at_level("label")[1]].tolist() == tree.labels.tolist()
    listed, allowed = tree.at_level(["leukocyte", "my cells"])
    assert listed.names[allowed].tolist() == ["my cells", "leukocyte"]
    deep, allowed = tree.at_level(5)
    assert set(deep.names[allowed]) == {T, "lymphocyte of B lineage", MONO, "my cells"}
    with pytest.raises(ValueError, match="level must be None, 'label', a depth"):
        tree.at_level("some cell")
    with pytest.raises(ValueError, match="level='neuron' names no label of the reference nor a term above one"):
        tree.at_level("neuron")


def test_terms_as_categories():
    tree = tree_of(B, T, "my cells")
    names, ids = tree.as_categories(np.array([2, 1, -1, 1], np.int32))
    assert names.categories.tolist() == [T, "my cells"]
    assert names.codes.tolist() == [1, 0, -1, 0]
    assert ids.categories.tolist() == ["CL:0000084"]
    assert ids.codes.tolist() == [-1, 0, -1, 0]
