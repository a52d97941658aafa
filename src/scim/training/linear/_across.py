"""Which cells are compared with which: those of other studies, and the sums over pairs of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS = 512
"""Cells that are compared with all others at a time."""


def distances(A: NDArray[np.float64], B: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared Euclidean distances, (len(A), len(B))."""
    d: NDArray[np.float64] = (A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1) - 2 * A @ B.T
    return np.maximum(d, 0, out=d)


def lone(labels: NDArray[np.int64], studies: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which cells are of a label that one study alone has, (n,)."""
    _, place = np.unique(labels, return_inverse=True)
    pairs = np.unique(np.stack([place, studies], axis=1), axis=0)
    alone: NDArray[np.bool_] = (np.bincount(pairs[:, 0]) == 1)[place]
    return alone


def barred(rows: slice, alone: NDArray[np.bool_], studies: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which cells those in `rows` must not have as neighbours: themselves, and others of their study.

    Within a study the nearest cell of the label is near for reasons that hold in that study alone. Cells of a label
    that one study alone has are compared within it: seen from another study, what tells the label apart cannot be
    told from what tells the studies apart.
    """
    out: NDArray[np.bool_] = (studies[rows][:, None] == studies) != alone[rows][:, None]
    own = np.arange(len(studies))[rows]
    out[np.arange(len(own)), own] = True
    return out
