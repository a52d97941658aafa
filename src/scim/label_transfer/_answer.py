"""Probabilities to answers: the most specific term that is probable enough, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.label_transfer._confidence import Probabilities


class Answer(NamedTuple):
    """What is said of each query."""

    terms: NDArray[np.int32]
    """(n,) the term, as in the tree; -1 = unknown."""

    confidence: NDArray[np.float32]
    """(n,) probability that it is right; of an unknown cell, of the most specific term that could have been said."""


def answer(found: Probabilities, threshold: float, allowed: NDArray[np.bool_]) -> Answer:
    """Say the most specific term allowed whose probability reaches the threshold.

    Parameters
    ----------
    found
        Of the winners and the terms above them.
    threshold
        Least probability of what is said, 0 to 1.
    allowed
        (n_terms,) which terms may be said.
    """
    may = (found.terms >= 0) & allowed[found.terms]
    passes = may & (found.right >= np.float32(threshold))
    said: NDArray[np.bool_] = np.any(passes, axis=1)
    rows = np.arange(len(said))
    place = np.where(said, passes.argmax(axis=1), may.argmax(axis=1))
    confidence = np.where(may.any(axis=1), found.right[rows, place], np.float32(0))
    return Answer(np.where(said, found.terms[rows, place], -1).astype(np.int32), confidence)
