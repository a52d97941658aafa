"""A covariance that can be inverted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.training.linear._project import Projected


def ledoit_wolf(cells: Projected) -> float:
    r"""Return the shrinkage of :cite:t:`Ledoit2004` for the covariance within labels.

    :math:`\min(1, \frac{\frac1n (\overline{\lVert x \rVert^4} - \lVert S \rVert_F^2)}{\lVert S - \mu I \rVert_F^2})`
    with :math:`\mu = \operatorname{tr} S / p`; n counts cells of equal weight.
    """
    S = cells.within
    squares = float((S**2).sum())
    spread = squares - np.trace(S) ** 2 / len(S)
    error = (cells.fourth - squares) / cells.n_cells
    return float(np.clip(error / spread, 0.0, 1.0)) if spread > 0 else 0.0


def shrink(S: NDArray[np.float64], shrinkage: float) -> NDArray[np.float64]:
    r"""Return :math:`(1 - s) S + s \mu I` with :math:`\mu = \operatorname{tr} S / p`, so that it can be inverted."""
    mean = np.trace(S) / len(S)
    # Directions without any variance would have an infinite weight.
    floor = max(1e-9 * mean, np.finfo(float).tiny)
    shrunk: NDArray[np.float64] = (1 - shrinkage) * S + (shrinkage * mean + floor) * np.eye(len(S))
    return shrunk
