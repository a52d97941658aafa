"""One answer for a group of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim.vote._answer import answer
from scim.vote._confidence import Probabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.vote._tree import LabelTree

MIXED = 0.25
"""A group is mixed if at least this share of its cells is expected to be of another type than the one it is called."""


class Consensus(NamedTuple):
    """What is said of each group."""

    terms: NDArray[np.int32]
    """(n_groups,) the term; -1 = unknown."""

    confidence: NDArray[np.float32]
    """(n_groups,) expected share of the cells that are of the term, 0 to 1: the mean of their probabilities."""

    share: NDArray[np.float32]
    """(n_groups,) share of the cells whose own label is the term or below it."""

    runner_up: NDArray[np.int32]
    """(n_groups,) the label, neither above nor below the term, that most of the other cells have; -1 = none."""

    runner_up_share: NDArray[np.float32]
    """(n_groups,) share of the cells that have it."""

    mixed: NDArray[np.bool_]
    """(n_groups,) whether the runner-up has at least a quarter of the cells."""


def consensus(
    found: Probabilities,
    names: NDArray[np.object_],
    groups: NDArray[np.int64],
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
    names
        (n_groups,) of the groups.
    groups
        (n,) group of each cell; -1 = none.
    tree
        The labels and the terms above them.
    threshold, allowed
        As in :func:`answer`.
    """
    inside, n_groups = groups >= 0, len(names)
    rows, width = groups[inside], found.terms.shape[1]
    expected = np.zeros((n_groups, len(tree.names)))
    at = np.repeat(rows, width), found.terms[inside].ravel()
    some = at[1] >= 0
    np.add.at(expected, (at[0][some], at[1][some]), found.right[inside].ravel()[some])
    labels, weighed = np.zeros((2, n_groups, tree.n_labels))
    winners = found.terms[inside, 0]
    voted = winners >= 0
    np.add.at(labels, (rows[voted], winners[voted]), 1.0)
    np.add.at(weighed, (rows[voted], winners[voted]), found.right[inside, 0][voted])
    size = np.bincount(rows, minlength=n_groups).clip(1)[:, None]
    expected, labels = expected / size, labels / size
    best = weighed.argmax(axis=1)
    paths = tree.paths[best]
    on_path = np.where(paths >= 0, np.take_along_axis(expected, paths, axis=1), 0).astype(np.float32)
    said = answer(Probabilities(on_path, paths), threshold, allowed)
    term = np.where(said.terms >= 0, said.terms, best)
    kin = tree.inside[term] | tree.above[term]
    others = np.where(kin, 0, labels)
    runner_up = others.argmax(axis=1)
    second = others.max(axis=1)
    return Consensus(
        said.terms,
        said.confidence,
        np.where(tree.inside[term], labels, 0).sum(axis=1).astype(np.float32),
        np.where(second > 0, runner_up, -1).astype(np.int32),
        second.astype(np.float32),
        second >= MIXED,
    )
