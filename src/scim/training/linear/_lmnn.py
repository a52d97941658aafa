"""Large margin nearest neighbours: the metric in which the nearest cells of a cell are of its label, by a margin."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import minimize

from scim.training.linear._across import ROWS, barred, distances, lone

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_TARGETS = 3
"""Cells of its label that each cell keeps near it; the paper's choice."""

MAX_STEPS = 100


class Fit(NamedTuple):
    """The map, and how it was found."""

    L: NDArray[np.float64]
    """(latent_dim, dim)"""
    losses: list[float]
    """at the start and after every step"""


def lmnn(
    Z: NDArray[np.float64],
    labels: NDArray[np.int64],
    start: NDArray[np.float64],
    *,
    studies: NDArray[np.int64] | None = None,
    stay: float = 0.0,
    n_targets: int = N_TARGETS,
    max_steps: int = MAX_STEPS,
) -> Fit:
    r"""Minimise the loss of :cite:t:`Weinberger2009` over L, by L-BFGS from a start.

    :math:`\frac{1}{2 n k} \sum_{i, j \in N_i} \Big( d_{ij} + \sum_{l: y_l \ne y_i} \max(0, 1 + d_{ij} - d_{il}) \Big)`
    with :math:`d_{ij} = \lVert L (z_i - z_j) \rVert^2`, where :math:`N_i` are the k nearest cells of the label of i
    before L: its targets. Unlike in the paper they are of other studies; a cell of a label that one study
    alone has has targets and impostors in it. Memory n x 512, time n x n x dim a step.

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
    n_targets
        k. Cells of labels with fewer others have those as targets.
    max_steps
        Of L-BFGS.
    """
    studies = np.zeros_like(labels) if studies is None else studies
    near = targets(Z, labels, studies, n_targets)
    losses: list[float] = []

    def evaluate(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        L = flat.reshape(start.shape)
        value, gradient = loss(L, Z, labels, near, studies)
        return value + stay * float(((L - start) ** 2).sum()), (gradient + 2 * stay * (L - start)).ravel()

    def note(intermediate_result: object) -> None:
        losses.append(float(intermediate_result.fun))  # type: ignore[attr-defined]  # scipy knows it by its name

    losses.append(evaluate(start.ravel())[0])
    found = minimize(
        evaluate, start.ravel(), jac=True, method="L-BFGS-B", callback=note, options={"maxiter": max_steps}
    )
    return Fit(found.x.reshape(start.shape), losses)


def targets(Z: NDArray[np.float64], labels: NDArray[np.int64], studies: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the k nearest of its label of each cell, (n, k), ties by place; -1 where there are fewer."""
    near, alone = np.full((len(Z), k), -1, dtype=np.int64), lone(labels, studies)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        d = distances(Z[own], Z[own])
        d[barred(slice(0, len(own)), alone[own], studies[own])] = np.inf
        order = np.argsort(d, axis=1, kind="stable")[:, :k]
        near[own, : order.shape[1]] = np.where(np.isfinite(np.take_along_axis(d, order, axis=1)), own[order], -1)
    return near


def loss(
    L: NDArray[np.float64],
    Z: NDArray[np.float64],
    labels: NDArray[np.int64],
    near: NDArray[np.int64],
    studies: NDArray[np.int64],
) -> tuple[float, NDArray[np.float64]]:
    """Return the loss and its gradient, (latent_dim, dim).

    The loss is a sum of squared distances, each with a weight: 1 for a pull, and for every margin that is not kept 1
    for the target and -1 for the impostor. So the gradient is 2 L times the scatter of the pairs with these weights.
    """
    Y, n, alone = Z @ L.T, len(Z), lone(labels, studies)
    pull = np.stack([((Y - Y[j]) ** 2).sum(axis=1) for j in near.T], axis=1)  # (n, k)
    pull[near < 0] = -np.inf
    weight = (near >= 0).astype(np.float64)  # (n, k)
    total = pull[near >= 0].sum()
    # With weights W of pairs (i, j): scatter = Z' (diag(W 1 + W' 1) - W - W') Z.
    each, cross = np.zeros(n), np.zeros((Z.shape[1], Z.shape[1]))
    for first in range(0, n, ROWS):
        rows = slice(first, min(n, first + ROWS))
        d = distances(Y[rows], Y)
        d[labels[rows][:, None] == labels] = np.inf
        d[alone[rows][:, None] & (studies[rows][:, None] != studies)] = np.inf
        count = np.zeros(d.shape)  # margins that an impostor breaks
        for t in range(near.shape[1]):
            short = 1 + pull[rows, t][:, None] - d
            broken = short > 0
            total += short[broken].sum()
            weight[rows, t] += broken.sum(axis=1)
            count += broken
        each[rows] -= count.sum(axis=1)
        each -= count.sum(axis=0)
        cross -= Z[rows].T @ (count @ Z)
    for j, w in zip(near.T, weight.T, strict=True):
        each += w + np.bincount(np.maximum(j, 0), w, minlength=n)  # where there is no target, w is 0
        cross += (Z.T * w) @ Z[j]
    scatter = (Z.T * each) @ Z - cross - cross.T
    share = 2 * max(1, int((near >= 0).sum()))
    return float(total / share), 2 * L @ scatter / share
