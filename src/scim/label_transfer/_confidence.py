"""How probable it is that a label is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.label_transfer._count import Evidence
    from scim.label_transfer._tree import LabelTree

BEYOND = 1.5
"""How many times farther cells of a new study lie than those of a study held out of the atlas, which the model was
often trained on: chosen on studies that neither model nor atlas had seen (benchmarks/NOTES.md)."""

DOUBT = 1.5
"""How many times smaller the log odds of an answer are in a new study, chosen likewise: the cells of a held-out study
come out clearer than new ones, for the model has seen their labels."""

STEPS = 100
"""Confidences at which the error rate of held-out cells is kept."""

_LEAST_SHARE, _LEAST_DISTANCE, _MOST_MARGIN = 0.01, 0.01, 3.0


class Probabilities(NamedTuple):
    """Of the winning label of each query, and of each term above it, in the order of its path."""

    right: NDArray[np.float32]
    """(n, width) probability that the cell is of the term, 0 to 1; 0 behind the end of the path."""

    terms: NDArray[np.int32]
    """(n, width) the term, as in the tree; -1 behind the end of the path."""


@dataclass(frozen=True)
class Confidence:
    """What was learned of the cells of studies that were held out of the vote, one after the other."""

    known: tuple[float, ...]
    """Intercept and slope of the logistic curve that a cell's type is among those of the voters; see :func:`remote`."""

    right: tuple[float, ...]
    """Intercept and slopes of the logistic curve that the answer is right if it is; see :func:`agreement`."""

    errors: tuple[float, ...]
    """Share of wrong answers among those of a confidence of at least 0, .01, .02, ... 1, expected of a new study of
    which one cell in ten is of a type that the voters lack."""

    n_studies: int
    """Number of studies that were held out; 0 = there was but one, and cells of it stood in."""

    def probabilities(
        self, evidence: Evidence, winners: NDArray[np.int32], tree: LabelTree, *, beyond: float = BEYOND
    ) -> Probabilities:
        r"""Return :math:`\sigma(a_0 + a_1 (f - \log 1.5)) \sigma((b_0 + b \cdot g) / 1.5)` of winners and terms above.

        The first factor says whether the type is one that voters have, by how far the cell is (:func:`remote`), the
        second whether the answer is right if it is, by how the neighbours agree (:func:`agreement`). A term is at
        least as probable as any term below it. `beyond` is how many times farther the cells lie than those held out.
        """
        known = expit(self.known[0] + self.known[1] * (remote(evidence) - np.log(beyond)))
        right = expit((self.right[0] + agreement(evidence) @ np.array(self.right[1:])) / DOUBT)
        terms = tree.paths[np.maximum(winners, 0)].copy()
        terms[winners < 0] = -1
        p = np.where(terms >= 0, known * right, 0.0)
        for upper in range(1, terms.shape[1]):
            for lower in range(upper):
                nested = (terms[:, upper] >= 0) & tree.within[terms[:, lower], terms[:, upper]]
                np.maximum(p[:, upper], p[:, lower], out=p[:, upper], where=nested)
        return Probabilities(p.astype(np.float32), terms)

    def threshold(self, max_error: float) -> float:
        """Return the confidence from which on at most this share of the answers is wrong; above 1: none is allowed."""
        too_many = np.flatnonzero(np.array(self.errors) > max_error)
        return 0.0 if too_many.size == 0 else (too_many[-1] + 1) / STEPS


def remote(evidence: Evidence) -> NDArray[np.float64]:
    """Return how far a query is, (n, width): the mean of the logarithms of two cosine distances.

    One is that to the nearest centroid of the term, by which a type that the model knows is told from others that it
    knows; the other the mean distance of the neighbours, by which one that the model does not know is told.
    """
    near = np.log(np.maximum(evidence.near, _LEAST_DISTANCE).astype(np.float64))
    spread = np.log(np.maximum(evidence.distance, _LEAST_DISTANCE).astype(np.float64))
    return (near + spread[:, None]) / 2


def agreement(evidence: Evidence) -> NDArray[np.float64]:
    """Return what speaks for an answer, (n, width, 3).

    The log odds of its share of the vote; the logarithm of how many times farther the nearest centroid of another
    label is; that of the number of studies whose cells are among its neighbours.
    """
    share = np.clip(evidence.share.astype(np.float64), _LEAST_SHARE, 1 - _LEAST_SHARE)
    own = np.maximum(evidence.near, _LEAST_DISTANCE).astype(np.float64)
    rival = np.maximum(evidence.rival, _LEAST_DISTANCE).astype(np.float64)
    margin = np.clip(np.log(rival / own), -_MOST_MARGIN, _MOST_MARGIN)
    return np.stack([np.log(share / (1 - share)), margin, np.log(np.maximum(evidence.n_studies, 1))], axis=-1)
