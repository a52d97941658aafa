from __future__ import annotations

import numpy as np
import pytest
import torch

from scim import ontology
from scim.training.losses import relations
from scim.training.losses._loss import perturb

T, CD4, CD8, B, NAIVE = (
    "T cell",
    "CD4-positive, alpha-beta T cell",
    "CD8-positive, alpha-beta T cell",
    "B cell",
    "naive thymus-derived CD4-positive, alpha-beta T cell",
)
LABELS = (T, CD4, CD8, B, NAIVE, "my own cell")


def table(*pairs):
    """Return a matrix that is true at the given pairs of labels."""
    found = np.zeros((len(LABELS), len(LABELS)), dtype=bool)
    for a, b in pairs:
        found[LABELS.index(a), LABELS.index(b)] = True
    return found


ABOVE = table((CD4, T), (CD8, T), (NAIVE, CD4), (NAIVE, T))


def test_relations_by_hand():
    related, descendants, parents = (x.numpy() for x in relations(LABELS))
    np.testing.assert_array_equal(descendants, ABOVE.T | np.eye(6, dtype=bool))
    np.testing.assert_array_equal(related, ABOVE | ABOVE.T | np.eye(6, dtype=bool))
    np.testing.assert_array_equal(parents, table((CD4, T), (CD8, T), (NAIVE, CD4)))


def test_without_the_label_between_the_next_is_the_parent():
    assert relations([T, NAIVE]).parents.tolist() == [[False, False], [True, False]]


def test_ids_and_names_are_equivalent():
    ids = [ontology.term_id(label) or label for label in LABELS]
    for a, b in zip(relations(ids), relations(LABELS), strict=True):
        assert torch.equal(a, b)
    np.testing.assert_array_equal(relations(LABELS).related, ontology.related(LABELS))


def test_two_names_of_one_term_are_the_same():
    related, descendants, parents = relations([T, "T lymphocyte", CD4])
    assert related.all()
    assert descendants.tolist() == [[True, True, True], [True, True, True], [False, False, True]]
    assert parents.tolist() == [[False] * 3, [False] * 3, [True, True, False]]


def perturbed(names, share=1.0, seed=0):
    codes = torch.tensor([LABELS.index(name) for name in names])
    out = perturb(codes, relations(LABELS).parents, share, torch.Generator().manual_seed(seed))
    return [LABELS[code] for code in out]


def test_a_label_becomes_a_parent_in_the_batch():
    assert perturbed([NAIVE, CD4, T, B]) == [CD4, T, T, B]


def test_without_a_parent_in_the_batch_a_label_stays():
    assert perturbed([NAIVE, T, "my own cell", CD8]) == [NAIVE, T, "my own cell", T]  # CD4 is missing


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_share_of_the_cells(share):
    out = perturbed([CD4] * 4000 + [T], share)
    assert out.count(T) - 1 == pytest.approx(4000 * share, abs=4 * np.sqrt(4000 * 0.21))
    assert set(out) <= {CD4, T}


def test_parents_are_drawn_evenly():
    parents = torch.zeros(4, 4, dtype=torch.bool)
    parents[0, 1:] = True
    labels = torch.tensor([0] * 3000 + [1, 3])
    out = perturb(labels, parents, 1.0, torch.Generator().manual_seed(0))
    times = np.bincount(out[:3000], minlength=4)
    assert times[0] == times[2] == 0  # label 2 is not in the batch
    assert times[1] == pytest.approx(1500, abs=4 * np.sqrt(750))
    assert out[3000:].tolist() == [1, 3]
