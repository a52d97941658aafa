"""Labels by a vote of nearest cells, as :func:`scim.tl.annotate` gives them by default, without an atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scim import ontology
from scim.label_transfer import (
    LabelTree,
    Voters,
    answer,
    calibrate,
    centroids_of,
    count,
    label_weights,
    near_labels,
)
from scim.training.evaluation._neighbours import nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.label_transfer import Confidence

_DECIMALS = 4  # cells whose embeddings agree so far are one cell that is there twice


class Reference(NamedTuple):
    """Labelled cells that vote."""

    X: NDArray[np.float32]
    voters: Voters
    confidence: Confidence

    @property
    def names(self) -> NDArray[np.object_]:
        """(n_labels,) their labels."""
        return self.voters.tree.names[: self.voters.tree.n_labels]


class Annotated(NamedTuple):
    """Labels of cells."""

    labels: NDArray[np.object_]
    """(n,) a label or a term above some; `None` = unknown."""

    confidence: NDArray[np.float32]
    """(n,) probability that it is right, 0 to 1."""


def reference(
    X: NDArray[np.float32],
    labels: NDArray[np.object_],
    studies: NDArray[np.object_],
) -> Reference:
    """Prepare labelled cells; of those that are there twice, one votes.

    Parameters
    ----------
    X
        Unit embeddings (n, dim).
    labels, studies
        (n,) of each.
    """
    once = np.sort(np.unique(np.round(X, _DECIMALS) + 0.0, axis=0, return_index=True)[1])  # + 0.0: no -0.0
    codes, names = pd.factorize(labels, sort=True)
    X, codes = X[once], codes[once]
    tree = LabelTree.of(list(names), [ontology.term_id(name) or "" for name in names])
    codes, study_codes = codes.astype(np.int32), pd.factorize(studies[once])[0].astype(np.int32)
    voters = Voters(codes, study_codes, tree, centroids_of(lambda ids: X[ids], codes, study_codes, X.shape[1]))

    def search(
        query: NDArray[np.float32], k: int, allowed: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        distances, places = nearest(query, X[allowed], k)
        return distances, np.where(places >= 0, allowed[places], -1)

    return Reference(X, voters, calibrate(lambda ids: X[ids], voters, search))


def annotate(X: NDArray[np.float32], known: Reference, *, k: int, max_error: float) -> Annotated:
    """Return what the vote of the k nearest says of each cell."""
    voters, tree = known.voters, known.voters.tree
    near = near_labels(X, voters.centroids, tree.n_labels)
    each = label_weights(np.bincount(voters.codes, minlength=tree.n_labels))
    votes, evidence = count(*nearest(X, known.X, k), voters, each, near, weights="balanced")
    found = known.confidence.probabilities(evidence, votes.codes[:, 0], tree)
    said = answer(found, known.confidence.threshold(max_error), np.ones(len(tree.names), dtype=np.bool_))
    # A row of zeros is a cell without counts: its neighbours are chance.
    some = X.any(axis=1)
    labels = tree.names[said.terms]
    labels[~some | (said.terms < 0)] = None
    return Annotated(labels, np.where(some, said.confidence, np.float32(0)))
