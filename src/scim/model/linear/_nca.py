"""Neighbourhood components analysis: the metric in which a soft nearest neighbour has the right label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.neighbors import NeighborhoodComponentsAnalysis  # type: ignore[import-untyped]  # it has no types

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_STEPS = 50


def nca(
    Z: NDArray[np.float64],
    labels: NDArray[np.int64],
    start: NDArray[np.float64],
    random: np.random.Generator,
    *,
    max_steps: int = MAX_STEPS,
) -> NDArray[np.float64]:
    r"""Maximise :math:`\sum_i \sum_{j: y_j = y_i} p_{ij}`, :cite:t:`Goldberger2004`, as scikit-learn does.

    :math:`p_{ij} \propto \exp(-\lVert L (z_i - z_j) \rVert^2)`. Memory n x n, time n x n x dim a step.
    """
    seed = int(random.integers(2**31))
    found = NeighborhoodComponentsAnalysis(len(start), init=start, max_iter=max_steps, random_state=seed)
    return np.asarray(found.fit(Z, labels).components_)
