"""Where the methods that compare cells pair by pair begin: a sample, whitened, in few dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim.model.linear._whitening import whitening

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.model.linear._project import Projected

MOST_DIMENSIONS = 100
"""Each step of these methods takes time quadratic in it."""


class Start(NamedTuple):
    """A sample of cells in whitened principal components."""

    T: NDArray[np.float64]
    """(dim, rank) to them from the basis"""
    Z: NDArray[np.float64]
    """(n, dim)"""
    labels: NDArray[np.int64]
    """(n,)"""
    L: NDArray[np.float64]
    """(latent_dim, dim) the map to begin with"""


def start(cells: Projected, latent_dim: int) -> Start:
    """Whiten, scale to where the nearest cell of a cell lies at a distance of about 1, and choose the first map."""
    T = whitening(cells, MOST_DIMENSIONS)
    Z = cells.Z @ T.T
    return Start(T, Z, cells.labels, np.eye(min(latent_dim, len(T)), len(T)))
