"""One answer for a group of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim.label_transfer._answer import answer
from scim.label_transfer._confidence import Probabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.groups import Groups
    from scim.label_transfer._answer import Answer
    from scim.label_transfer._tree import LabelTree

MIXED = 0.25
"""A group is mixed if at least this share of its cells got the same other answer."""


class Consensus(NamedTuple):
    """What is said of each group."""

    terms: NDArray[np.int32]
    """(n_groups,) the term; -1 = unknown."""

    confidence: NDArray[np.float32]
    """(n_groups,) expected share of the cells that are of the term, 0 to 1: the mean of their probabilities."""

    share: NDArray[np.float32]
    """(n_groups,) share of the cells whose own answer is the term or below it."""

    runner_up: NDArray[np.int32]
    """(n_groups,) the answer, neither above nor below the term, that most of the other cells got; -1 = none."""

    runner_up_share: NDArray[np.float32]
    """(n_groups,) share of the cells that have it."""

    mixed: NDArray[np.bool_]
    """(n_groups,) whether the runner-up has at least a quarter of the cells."""


def consensus(
    found: Probabilities,
    said: Answer,
    groups: Groups,
    tree: LabelTree,
    threshold: float,
    allowed: NDArray[np.bool_],
) -> Consensus:
    """Say of each group the most specific term whose mean probability over its cells reaches the threshold.

    The path of terms is that above the label which is the winner of most cells, by their probabilities.

    Parameters
    ----------
    found
        Of the cells.
    said
        Of the cells.
    groups
        Of the cells.
    tree
        The labels and the terms above them.
    threshold, allowed
        As in :func:`answer`.
    """
    inside, n_groups = groups.codes >= 0, len(groups.names)
    rows = groups.codes[inside]
    size = np.bincount(rows, minlength=n_groups).clip(1)[:, None]
    n_terms = len(tree.names)
    expected = _summed(rows, found.terms[inside], found.right[inside], (n_groups, n_terms)) / size
    winners = found.terms[inside][:, :1]
    best = _summed(rows, winners, found.right[inside][:, :1], (n_groups, n_terms)).argmax(axis=1)
    paths = tree.paths[best]
    on_path = np.where(paths >= 0, np.take_along_axis(expected, paths, axis=1), 0).astype(np.float32)
    joint = answer(Probabilities(on_path, paths), threshold, allowed)
    term = np.where(joint.terms >= 0, joint.terms, best)
    own = said.terms[inside][:, None]
    shares = _summed(rows, own, np.ones(own.shape, dtype=np.float32), (n_groups, n_terms)) / size
    below, above = tree.within.T[term], tree.within[term]
    others = np.where(below | above, 0, shares)
    second = others.max(axis=1)
    return Consensus(
        joint.terms,
        joint.confidence,
        np.where(below, shares, 0).sum(axis=1).astype(np.float32),
        np.where(second > 0, others.argmax(axis=1), -1).astype(np.int32),
        second.astype(np.float32),
        second >= MIXED,
    )


def _summed(
    rows: NDArray[np.int64], terms: NDArray[np.int32], values: NDArray[np.float32], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Add up values by group and term; terms of -1 are none."""
    out = np.zeros(shape)
    some = terms >= 0
    np.add.at(out, (np.broadcast_to(rows[:, None], terms.shape)[some], terms[some]), values[some])
    return out
