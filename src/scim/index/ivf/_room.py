"""Room to work in, so that a search allocates nothing: one of each array for every task."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEP = 32
"""Rows that are offered to a shortlist at a time."""


class Room(NamedTuple):
    """Arrays whose first axis is the task."""

    code: NDArray[np.int8]
    """(n_tasks, padded dim): the coded query."""
    left: NDArray[np.float32]
    """(n_tasks, n_groups): dots with the parents of groups not visited yet."""
    near: NDArray[np.float32]
    """(n_tasks, n_lists + 1): negated cosines of the lists met."""
    lists: NDArray[np.int64]
    """(n_tasks, n_lists + 1): their numbers."""
    front: NDArray[np.float32]
    """(n_tasks, n_lists + 1): negated cosines of the lists whose turn it is, nearest first."""
    front_lists: NDArray[np.int64]
    """(n_tasks, n_lists + 1): their numbers."""
    dots: NDArray[np.int32]
    """(n_tasks, lists of the largest group): dots of codes."""
    scores: NDArray[np.float32]
    """(n_tasks, STEP): scores of the rows that are offered."""
    values: NDArray[np.float32]
    """(n_tasks, room of the shortlist): scores, and in the end distances, of candidates."""
    names: NDArray[np.int64]
    """(n_tasks, room of the shortlist): names, and in the end ranks, of candidates."""


def make_room(n_tasks: int, width: int, n_groups: int, n_lists: int, widest: int, m: int) -> Room:
    """Return room for `n_tasks` searches for the best `m`."""
    lists = (n_tasks, n_lists + 1)  # one more, since a list is written before it is known to count
    return Room(
        np.empty((n_tasks, width), dtype=np.int8),
        np.empty((n_tasks, n_groups), dtype=np.float32),
        np.empty(lists, dtype=np.float32),
        np.empty(lists, dtype=np.int64),
        np.empty(lists, dtype=np.float32),
        np.empty(lists, dtype=np.int64),
        np.empty((n_tasks, max(STEP, widest)), dtype=np.int32),
        np.empty((n_tasks, STEP), dtype=np.float32),
        np.empty((n_tasks, 3 * m + 2 * STEP), dtype=np.float32),
        np.empty((n_tasks, 3 * m + 2 * STEP), dtype=np.int64),
    )
