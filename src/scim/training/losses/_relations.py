"""How the labels of a model lie to each other in the Cell Ontology."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from scim import ontology

if TYPE_CHECKING:
    from collections.abc import Sequence


class Relations(NamedTuple):
    """Bool tensors, each (n_labels, n_labels)."""

    kin: torch.Tensor
    """labels that are not each other's negatives: the same, or one above the other"""
    below: torch.Tensor
    """`below[a, b]`: b is a, or a descendant of a"""
    parents: torch.Tensor
    """`parents[a, b]`: b is an ancestor of a, and no other label lies between the two"""


def relations(labels: Sequence[str]) -> Relations:
    """Look labels up in the Cell Ontology.

    Parameters
    ----------
    labels
        Cell Ontology ids or names, or free words, which are related to themselves only.
    """
    terms = [ontology.term_id(label) for label in labels]
    names = np.array([label if term is None else term for label, term in zip(labels, terms, strict=True)], dtype=object)
    up = [frozenset[str]() if term is None else ontology.ancestors(term) for term in terms]
    above = np.array([[term in higher for term in terms] for higher in up], dtype=np.bool_)
    same = names[:, None] == names[None, :]
    between = above.astype(np.int64) @ above.astype(np.int64) > 0  # some label is above a and below b
    tables = same | above | above.T, same | above.T, above & ~between
    return Relations(*(torch.from_numpy(table) for table in tables))
