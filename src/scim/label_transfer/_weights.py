"""What a neighbour weighs by its distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CLOSEST = 1e-6
"""Distances below this count as this, so that an identical cell outweighs others without silencing them."""


def distance_weights(distances: NDArray[np.float32], found: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return 1 / max(d, 1e-6) of the neighbours found, and 0 for the others, shape (n, k)."""
    near = np.maximum(np.where(found, distances, 1).astype(np.float64), _CLOSEST)
    return np.where(found, 1 / near, 0.0)
