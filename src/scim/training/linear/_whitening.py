"""Whitening: Euclidean distances of what it returns are Mahalanobis distances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim.training.linear._shrink import ledoit_wolf, shrink

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.training.linear._project import Projected


def whitening(cells: Projected, latent_dim: int, *, shrinkage: float | None = None) -> NDArray[np.float64]:
    r"""Return :math:`(V^T S V)^{-1/2} V^T`, shape (latent_dim, rank).

    V has the first principal components of all cells, S is the shrunk covariance within labels: directions along
    which cells of a label vary, whatever the reason, count less (:cite:t:`Mahalanobis1936`).
    """
    S = shrink(cells.within, ledoit_wolf(cells) if shrinkage is None else shrinkage)
    _, V = np.linalg.eigh(cells.within + cells.between)
    V = signed(V[:, ::-1][:, :latent_dim].T).T
    size, U = np.linalg.eigh(V.T @ S @ V)
    T: NDArray[np.float64] = (U / np.sqrt(size)) @ U.T @ V.T
    return T


def signed(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn each row so that its largest entry is positive: eigenvectors have no sign of their own."""
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    return directions * np.where(largest < 0, -1.0, 1.0)
