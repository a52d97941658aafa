"""Voters made by hand."""

from __future__ import annotations

import numpy as np

from scim import ontology
from scim.label_transfer import LabelTree, Voters, centroids_of


def tree_of(*names):
    return LabelTree.of(list(names), [ontology.term_id(name) or "" for name in names])


def voters_of(X, codes, studies, *names):
    codes, studies = np.asarray(codes, np.int32), np.asarray(studies, np.int32)
    return Voters(codes, studies, tree_of(*names), centroids_of(lambda ids: X[ids], codes, studies, X.shape[1]))


def unit(X):
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)
