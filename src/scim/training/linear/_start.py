"""Where the methods that compare cells pair by pair begin: a sample, whitened, in few dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim.training.linear._across import distances
from scim.training.linear._whitening import signed, whitening

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.training.linear._project import Projected

MOST_DIMENSIONS = 100
"""Each step of these methods takes time quadratic in it."""


class Start(NamedTuple):
    """A sample of cells in whitened principal components."""

    T: NDArray[np.float64]
    """(dim, rank) to them from the basis"""
    Z: NDArray[np.float64]
    """(n, dim) so scaled that the nearest cell of a cell lies at a distance of about 1, the margin of `"lmnn"`"""
    L: NDArray[np.float64]
    """(latent_dim, dim) the map to begin with: the components of the whitened cells"""


def start(cells: Projected, latent_dim: int) -> Start:
    """Whiten the sample and choose the first map."""
    T = whitening(cells, MOST_DIMENSIONS)
    _, V = np.linalg.eigh(T @ (cells.within + cells.between) @ T.T)
    Z = cells.Z @ T.T
    d = distances(Z, Z)
    np.fill_diagonal(d, np.inf)
    near = float(np.median(d.min(axis=1)))
    scale = near**-0.5 if 0 < near < np.inf else 1.0
    return Start(T * scale, Z * scale, signed(V[:, ::-1][:, :latent_dim].T))
