"""Neighbourhood components analysis: the metric in which a soft nearest neighbour has the right label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize

from scim.training.linear._across import ROWS, barred, distances, lone

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_STEPS = 50


def nca(
    Z: NDArray[np.float64],
    labels: NDArray[np.int64],
    start: NDArray[np.float64],
    *,
    studies: NDArray[np.int64] | None = None,
    stay: float = 0.0,
    max_steps: int = MAX_STEPS,
) -> NDArray[np.float64]:
    r"""Maximise the probability that a neighbour is of the label, :cite:t:`Goldberger2004`, by L-BFGS from a start.

    :math:`\frac1n \sum_i \sum_{j: y_j = y_i} p_{ij}` with :math:`p_{ij} \propto \exp(-\lVert L (z_i - z_j) \rVert^2)`,
    where j is of another study, or of the same if no other has the label of i. With one study
    it is what scikit-learn maximises, which knows no other. Memory n x 512, time n x n x dim a step.

    Parameters
    ----------
    Z
        (n, dim) cells.
    labels
        (n,)
    start
        (latent_dim, dim) the first L.
    studies
        (n,); default: one.
    stay
        Weight of the squared distance of L from the start, which keeps L from fitting the sample.
    max_steps
        Of L-BFGS.
    """
    studies = np.zeros_like(labels) if studies is None else studies

    def evaluate(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        L = flat.reshape(start.shape)
        value, gradient = gain(L, Z, labels, studies)
        return stay * float(((L - start) ** 2).sum()) - value, (2 * stay * (L - start) - gradient).ravel()

    found = minimize(evaluate, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": max_steps})
    return np.asarray(found.x).reshape(start.shape)


def gain(
    L: NDArray[np.float64], Z: NDArray[np.float64], labels: NDArray[np.int64], studies: NDArray[np.int64]
) -> tuple[float, NDArray[np.float64]]:
    """Return what is maximised and its gradient, (latent_dim, dim)."""
    Y, n, alone = Z @ L.T, len(Z), lone(labels, studies)
    total, each, cross = 0.0, np.zeros(n), np.zeros((Z.shape[1], Z.shape[1]))
    for first in range(0, n, ROWS):
        rows = slice(first, min(n, first + ROWS))
        d = distances(Y[rows], Y)
        d[barred(rows, alone, studies)] = np.inf
        nearest = d.min(axis=1, keepdims=True)
        p = np.exp(np.where(np.isfinite(nearest), nearest, 0) - d)
        p /= np.maximum(p.sum(axis=1, keepdims=True), 1e-300)
        right = p * (labels[rows][:, None] == labels)
        share = right.sum(axis=1, keepdims=True)
        total += share.sum()
        weight = right - p * share  # of a pair: by how much more probable it should become
        each[rows] += weight.sum(axis=1)
        each += weight.sum(axis=0)
        cross += Z[rows].T @ (weight @ Z)
    scatter = (Z.T * each) @ Z - cross - cross.T
    return float(total / n), -2 * L @ scatter / n
