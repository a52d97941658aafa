"""Label references made by hand, and an index of rows by brute force."""

from __future__ import annotations

import numpy as np

from helpers import oracles
from scim import ontology
from scim.label_transfer import LabelReference, LabelTree


class Rows:
    """An index as label transfer needs it: rows and their neighbours by brute force; duplicates are detected."""

    def __init__(self, X):
        self.X = X
        self.n_rows, self.dim = X.shape

    def query(self, X, k, *, allowed=None, distinct=False):  # noqa: ARG002
        return oracles.neighbors(X, self.X, k, allowed=allowed)

    def vectors(self, ids):
        return self.X[ids]


def tree_of(*names):
    return LabelTree.of(list(names), [ontology.term_id(name) or "" for name in names])


def reference_of(X, codes, studies, *names):
    return LabelReference.of(Rows(X), np.asarray(codes, np.int32), np.asarray(studies, np.int32), tree_of(*names))


def unit(X):
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)
