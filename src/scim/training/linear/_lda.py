"""Fisher's discriminant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scipy import linalg

from scim.training.linear._shrink import ledoit_wolf, shrink
from scim.training.linear._whitening import signed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scim.training.linear._project import Projected


def lda(cells: Projected, latent_dim: int, *, shrinkage: float | None = None) -> NDArray[np.float64]:
    r"""Return the directions of the largest :math:`v^T S_B v / v^T S_W v`, shape (latent_dim, rank).

    They solve :math:`S_B v = \lambda S_W v` and have :math:`v^T S_W v = 1` (:cite:t:`Fisher1936`). There are no more
    than one fewer than labels.
    """
    S = shrink(cells.within, ledoit_wolf(cells) if shrinkage is None else shrinkage)
    n = min(latent_dim, len(cells.share) - 1, len(S))
    _, V = linalg.eigh(cells.between, S)
    return signed(V[:, ::-1][:, :n].T)
