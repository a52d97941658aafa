"""Labels by a vote of nearest cells, as :func:`scim.tl.annotate` gives them by default, without an atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scim._core.vote import farthest_voter, label_weights, vote
from scim.model.evaluation._neighbours import nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SAMPLE = 10_000
_QUANTILE = 0.995
_DECIMALS = 4  # cells whose embeddings agree so far are one cell that is there twice


class Reference(NamedTuple):
    """Labelled cells that vote."""

    X: NDArray[np.float32]
    codes: NDArray[np.int32]
    names: NDArray[np.object_]
    weights: NDArray[np.float32]
    """(n_labels,) what a voter of each label weighs."""
    limit: float
    """A cell whose nearest neighbour is farther is unknown."""


def reference(
    X: NDArray[np.float32],
    labels: NDArray[np.object_],
    studies: NDArray[np.object_],
    *,
    max_distance: float | None,
    random: np.random.Generator,
) -> Reference:
    """Prepare labelled cells; of those that are there twice, one votes.

    Parameters
    ----------
    X
        Unit embeddings (n, dim).
    labels, studies
        (n,) of each.
    max_distance
        Default: as in :func:`scim.tl.annotate`, from what :func:`reach` finds.
    random
        Draws a sample where there are many.
    """
    codes, names = pd.factorize(labels, sort=True)
    if max_distance is None:
        max_distance = farthest_voter(reach(X, codes, pd.factorize(studies)[0], random))
    once = np.sort(np.unique(np.round(X, _DECIMALS) + 0.0, axis=0, return_index=True)[1])  # + 0.0: no -0.0
    weights = label_weights(codes, len(names))
    return Reference(
        X[once], codes[once].astype(np.int32), np.asarray(names, dtype=object), weights, float(max_distance)
    )


def annotate(X: NDArray[np.float32], known: Reference, k: int) -> NDArray[np.object_]:
    """Return the label that wins the vote of the k nearest, or `None` where it is unknown, (n,)."""
    distances, ids = nearest(X, known.X, k)
    votes = vote(distances, ids, known.codes, known.weights, weights="distance", top_n=1)
    labels = known.names[votes.codes[:, 0]]
    # A row of zeros is a cell without counts: its neighbours are chance.
    labels[(distances[:, 0] > known.limit) | ~X.any(axis=1)] = None
    return labels


def reach(
    X: NDArray[np.float32],
    labels: NDArray[np.integer[Any]],
    studies: NDArray[np.integer[Any]],
    random: np.random.Generator,
) -> float:
    """Return the cosine distance within which 99.5 % of a sample have a cell of their label in another study.

    Labels of one study alone say nothing of this; if all are, the nearest other cell stands in.
    """
    pairs = pd.DataFrame({"label": labels, "study": studies}).drop_duplicates()
    n_studies = pairs["label"].value_counts()
    shared = n_studies.index[n_studies > 1].to_numpy()
    comparable = np.flatnonzero(np.isin(labels, shared)) if shared.size else np.arange(len(labels))
    sample = np.sort(random.choice(comparable, min(comparable.size, _SAMPLE), replace=False))
    if shared.size:
        parts = [(sample[labels[sample] == label], np.flatnonzero(labels == label)) for label in shared]
        found = [nearest(X[a], X[b], 1, apart=(studies[a], studies[b]))[0] for a, b in parts]
    else:
        found = [nearest(X[sample], X, 1, apart=(sample, np.arange(len(X))))[0]]
    distances = np.concatenate(found)
    distances = distances[np.isfinite(distances)]
    return float(np.quantile(distances, _QUANTILE)) if distances.size else 2.0
