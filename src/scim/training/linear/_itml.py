"""Information-theoretic metric learning: the metric nearest to the given one that keeps pairs near or apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim.training.linear._whitening import signed

if TYPE_CHECKING:
    from numpy.typing import NDArray

SLACK = 1.0
"""Gamma of the paper: small values let constraints give way, infinity makes them hard."""

MAX_SWEEPS = 50
TOLERANCE = 1e-3


class Pairs(NamedTuple):
    """Constraints on the distance of two cells."""

    difference: NDArray[np.float64]
    """(n, dim)"""
    similar: NDArray[np.bool_]
    """(n,) whether the squared distance must be at most the bound, else at least"""
    bound: NDArray[np.float64]
    """(n,)"""


def itml(pairs: Pairs, *, slack: float = SLACK, max_sweeps: int = MAX_SWEEPS) -> NDArray[np.float64]:
    r"""Minimise the LogDet divergence of A from the identity under the constraints, :cite:t:`Davis2007`.

    :math:`\min_A \operatorname{tr} A - \log\det A + \gamma \sum_c (\xi_c / b_c - \log(\xi_c / b_c))`, where
    :math:`v_c^T A v_c` is at most :math:`\xi_c` for similar and at least :math:`\xi_c` for dissimilar pairs. Each
    constraint in turn is met by a Bregman projection, a change of A by a matrix of rank 1, until a sweep changes the
    dual variables by less than a thousandth. Time dim x dim for a pair and sweep.

    Parameters
    ----------
    pairs
        The constraints.
    slack
        :math:`\gamma`.
    max_sweeps
        Sweeps over all constraints at most.

    Returns
    -------
    A, positive definite, shape (dim, dim).
    """
    A = np.eye(pairs.difference.shape[1])
    dual, bound = np.zeros(len(pairs.bound)), pairs.bound.astype(np.float64)
    for _ in range(max_sweeps):
        before = dual.copy()
        for c in range(len(dual)):
            sign = 1.0 if pairs.similar[c] else -1.0
            step = project(A, pairs.difference[c], sign, bound[c], dual[c], slack)
            dual[c] -= step
            bound[c] = 1 / (1 / bound[c] + sign * step / slack)
        if np.abs(dual - before).sum() <= TOLERANCE * max(np.abs(dual).sum(), 1e-12):
            break
    return A


def project(
    A: NDArray[np.float64], v: NDArray[np.float64], sign: float, bound: float, dual: float, slack: float
) -> float:
    r"""Bring one distance to its bound, in place, and return by how much the dual variable falls.

    Of all matrices with :math:`v^T A v = \xi` the nearest is :math:`A + \beta A v v^T A`. With slack the bound moves
    towards the distance meanwhile: they meet at :math:`\alpha = \delta \frac{\gamma}{\gamma + 1} (1/p - 1/\xi)`.
    """
    w = A @ v
    p = float(v @ w)
    if p <= 0:
        return 0.0  # the same cell twice
    share = 1.0 if np.isinf(slack) else slack / (slack + 1)
    step = min(dual, sign * share * (1 / p - 1 / bound))
    A += sign * step / (1 - sign * step * p) * np.outer(w, w)
    return step


def components(A: NDArray[np.float64], Z: NDArray[np.float64], latent_dim: int) -> NDArray[np.float64]:
    r"""Return L, (latent_dim, dim), with :math:`L^T L` as near to A as the cells can tell.

    Its rows are the principal components of the cells in the metric of A, so that distances lose least.
    """
    size, U = np.linalg.eigh(A)
    root = (U * np.sqrt(np.maximum(size, 0))) @ U.T
    _, V = np.linalg.eigh(np.cov(Z @ root, rowvar=False))
    L: NDArray[np.float64] = signed(V[:, ::-1][:, :latent_dim].T) @ root
    return L
