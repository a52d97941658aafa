"""The linear metrics that compare cells pair by pair: NCA, LMNN and ITML."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from scipy.optimize import minimize

from scim.training.linear._moments import leading

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Codes: TypeAlias = NDArray[np.int64]

ROWS = 512  # cells that are compared with all others at a time
N_TARGETS, PUSH = 3, 0.5  # of LMNN, as in the paper
SLACK, MAX_SWEEPS, TOLERANCE = 1.0, 50, 1e-3  # of ITML; slack is gamma of the paper, infinity makes constraints hard
MOST_PAIRS, NEAR, FAR = 10_000, 5, 95  # of ITML: bounds are these percentiles of random distances


class Pairs(NamedTuple):
    """Constraints on the distances of pairs of cells."""

    difference: Floats
    """(n, dim)"""
    similar: NDArray[np.bool_]
    """(n,) whether the squared distance must be at most the bound, else at least"""
    bound: Floats
    """(n,)"""


def nca(
    Z: Floats, labels: Codes, start: Floats, *, studies: Codes | None = None, stay: float = 0.0, max_steps: int = 50
) -> Floats:
    r"""Maximise the probability that a neighbour is of the label, :cite:t:`Goldberger2004`, by L-BFGS from a start.

    :math:`\frac1n \sum_i \sum_{j: y_j = y_i} p_{ij}` with :math:`p_{ij} \propto \exp(-\lVert L (z_i - z_j) \rVert^2)`,
    where j is of another study, or of the same if no other has the label of i. With one study it is what scikit-learn
    maximises, which has no studies. Memory n x 512, time n x n x dim a step.

    The first and the last L are (latent_dim, dim), cells Z (n, dim), codes of labels and studies (n,). `stay` is the
    weight of the squared distance of L from the start, which keeps L from fitting the sample.
    """
    studies = np.zeros_like(labels) if studies is None else studies
    return _descend(lambda L: nca_loss(L, Z, labels, studies), start, stay, max_steps)


def nca_loss(L: Floats, Z: Floats, labels: Codes, studies: Codes) -> tuple[float, Floats]:
    """Return minus the mean probability, and its gradient, (latent_dim, dim)."""
    Y, n, alone = Z @ L.T, len(Z), single_study(labels, studies)
    total, scatter = 0.0, _PairScatter(Z)
    for first in range(0, n, ROWS):
        rows = slice(first, min(n, first + ROWS))
        d = squared_distances(Y[rows], Y)
        d[excluded(rows, alone, studies)] = np.inf
        nearest = d.min(axis=1, keepdims=True)
        p = np.exp(np.where(np.isfinite(nearest), nearest, 0) - d)
        p /= np.maximum(p.sum(axis=1, keepdims=True), 1e-300)
        right = p * (labels[rows][:, None] == labels)
        share = right.sum(axis=1, keepdims=True)
        total += share.sum()
        scatter.add(rows, right - p * share)  # by how much more probable a pair should become
    return -float(total / n), 2 * L @ scatter.matrix() / n


def lmnn(
    Z: Floats,
    labels: Codes,
    start: Floats,
    *,
    studies: Codes | None = None,
    stay: float = 0.0,
    n_targets: int = N_TARGETS,
    push: float = PUSH,
    max_steps: int = 100,
) -> Floats:
    r"""Minimise the loss of :cite:t:`Weinberger2009` over L, by L-BFGS from a start.

    .. math::
        \frac{1}{n k} \sum_{i, j \in N_i}
        \Big( (1 - \mu) \, d_{ij} + \mu \sum_{l: y_l \ne y_i} \max(0, 1 + d_{ij} - d_{il}) \Big)

    with the weight :math:`\mu` of the push and :math:`d_{ij} = \lVert L (z_i - z_j) \rVert^2`; :math:`N_i` are the k
    nearest cells of the label of i before L, its targets. Unlike in the paper they are of other studies; a cell of a
    label of a single study has targets and impostors in that study. Cells of labels with fewer than k = `n_targets`
    other cells have those as targets. Arguments and costs are those of :func:`nca`.
    """
    studies = np.zeros_like(labels) if studies is None else studies
    near = targets(Z, labels, studies, n_targets)
    return _descend(lambda L: lmnn_loss(L, Z, labels, near, studies, push=push), start, stay, max_steps)


def targets(Z: Floats, labels: Codes, studies: Codes, k: int) -> Codes:
    """Return the k nearest cells of the label of each cell, (n, k), ties by row; -1 where there are fewer."""
    near, alone = np.full((len(Z), k), -1, dtype=np.int64), single_study(labels, studies)
    for label in np.unique(labels):
        cells = np.flatnonzero(labels == label)
        d = squared_distances(Z[cells], Z[cells])
        d[excluded(slice(0, len(cells)), alone[cells], studies[cells])] = np.inf
        order = np.argsort(d, axis=1, kind="stable")[:, :k]
        found = np.isfinite(np.take_along_axis(d, order, axis=1))
        near[cells, : order.shape[1]] = np.where(found, cells[order], -1)
    return near


def lmnn_loss(
    L: Floats, Z: Floats, labels: Codes, near: Codes, studies: Codes, *, push: float = PUSH
) -> tuple[float, Floats]:
    """Return the loss and its gradient, (latent_dim, dim).

    The loss is a sum of squared distances, each with a weight: 1 - `push` for a target, and for every margin that is
    not kept `push` for the target and -`push` for the impostor. So the gradient is 2 L times the scatter of the pairs
    with these weights.
    """
    Y, n, alone = Z @ L.T, len(Z), single_study(labels, studies)
    pull = np.stack([((Y - Y[j]) ** 2).sum(axis=1) for j in near.T], axis=1)  # (n, k)
    pull[near < 0] = -np.inf
    weight = (1 - push) * (near >= 0)  # (n, k)
    total, scatter = (1 - push) * pull[near >= 0].sum(), _PairScatter(Z)
    for first in range(0, n, ROWS):
        rows = slice(first, min(n, first + ROWS))
        d = squared_distances(Y[rows], Y)
        d[labels[rows][:, None] == labels] = np.inf
        d[alone[rows][:, None] & (studies[rows][:, None] != studies)] = np.inf
        n_broken = np.zeros(d.shape)  # margins that an impostor breaks
        for t in range(near.shape[1]):
            short = 1 + pull[rows, t][:, None] - d
            broken = short > 0
            total += push * short[broken].sum()
            weight[rows, t] += push * broken.sum(axis=1)
            n_broken += broken
        scatter.add(rows, -push * n_broken)
    for j, w in zip(near.T, weight.T, strict=True):  # where there is no target, w is 0
        scatter.degree += w + np.bincount(np.maximum(j, 0), w, minlength=n)
        scatter.cross += (Z.T * w) @ Z[j]
    n_pairs = max(1, int((near >= 0).sum()))
    return float(total / n_pairs), 2 * L @ scatter.matrix() / n_pairs


class _PairScatter:
    """The scatter of pairs (i, j) of rows of Z with weights W: Z' (diag(W 1 + W' 1) - W - W') Z."""

    def __init__(self, Z: Floats) -> None:
        self.Z, self.degree, self.cross = Z, np.zeros(len(Z)), np.zeros((Z.shape[1], Z.shape[1]))

    def add(self, rows: slice, weight: Floats) -> None:
        """Add the rows of W, (len(rows), n)."""
        self.degree[rows] += weight.sum(axis=1)
        self.degree += weight.sum(axis=0)
        self.cross += self.Z[rows].T @ (weight @ self.Z)

    def matrix(self) -> Floats:
        scatter: Floats = (self.Z.T * self.degree) @ self.Z - self.cross - self.cross.T
        return scatter


def _descend(loss: Callable[[Floats], tuple[float, Floats]], start: Floats, stay: float, max_steps: int) -> Floats:
    """Minimise a loss plus `stay` times the squared distance of L from the start."""

    def evaluate(flat: Floats) -> tuple[float, Floats]:
        L = flat.reshape(start.shape)
        value, gradient = loss(L)
        return value + stay * float(((L - start) ** 2).sum()), (gradient + 2 * stay * (L - start)).ravel()

    found = minimize(evaluate, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": max_steps})
    return np.asarray(found.x).reshape(start.shape)


def squared_distances(A: Floats, B: Floats) -> Floats:
    """Return squared Euclidean distances, (len(A), len(B))."""
    d: Floats = (A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1) - 2 * A @ B.T
    return np.maximum(d, 0, out=d)


def single_study(labels: Codes, studies: Codes) -> NDArray[np.bool_]:
    """Return which cells are of a label of a single study, (n,)."""
    _, codes = np.unique(labels, return_inverse=True)
    pairs = np.unique(np.stack([codes, studies], axis=1), axis=0)
    alone: NDArray[np.bool_] = (np.bincount(pairs[:, 0]) == 1)[codes]
    return alone


def excluded(rows: slice, alone: NDArray[np.bool_], studies: Codes) -> NDArray[np.bool_]:
    """Return which cells cannot be neighbours of those in `rows`: themselves, and others of their study.

    Within a study the nearest cell of the label is near for reasons that hold in that study alone. Cells of a label
    of a single study are compared within it: seen from another study, differences between labels cannot be told from
    differences between studies.
    """
    out: NDArray[np.bool_] = (studies[rows][:, None] == studies) != alone[rows][:, None]
    cells = np.arange(len(studies))[rows]
    out[np.arange(len(cells)), cells] = True
    return out


def itml(pairs: Pairs, *, slack: float = SLACK, max_sweeps: int = MAX_SWEEPS) -> Floats:
    r"""Minimise the LogDet divergence of A from the identity under the constraints, :cite:t:`Davis2007`.

    :math:`\min_A \operatorname{tr} A - \log\det A + \gamma \sum_c (\xi_c / b_c - \log(\xi_c / b_c))`, where
    :math:`v_c^T A v_c` is at most :math:`\xi_c` for similar and at least :math:`\xi_c` for dissimilar pairs. Each
    constraint in turn is met by a Bregman projection, a change of A by a matrix of rank 1, until a sweep changes the
    dual variables by less than a thousandth. A is (dim, dim), `slack` is :math:`\gamma`; time dim x dim for a pair and
    sweep.
    """
    A = np.eye(pairs.difference.shape[1])
    dual, bound = np.zeros(len(pairs.bound)), pairs.bound.astype(np.float64)
    for _ in range(max_sweeps):
        before = dual.copy()
        for c in range(len(dual)):
            sign = 1.0 if pairs.similar[c] else -1.0
            step = bregman_projection(A, pairs.difference[c], sign, bound[c], dual[c], slack)
            dual[c] -= step
            bound[c] = 1 / (1 / bound[c] + sign * step / slack)
        if np.abs(dual - before).sum() <= TOLERANCE * max(np.abs(dual).sum(), 1e-12):
            break
    return A


def bregman_projection(A: Floats, v: Floats, sign: float, bound: float, dual: float, slack: float) -> float:
    r"""Bring one distance to its bound, in place, and return the decrease of the dual variable.

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


def draw_pairs(Z: Floats, labels: Codes, random: np.random.Generator) -> Pairs:
    """Draw as many similar as dissimilar pairs, :math:`20 c^2` for c labels, at most 10,000 in all."""
    n = min(20 * len(np.unique(labels)) ** 2, MOST_PAIRS)
    anchor = random.integers(len(Z), size=n)
    order = np.argsort(labels, kind="stable")
    values, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    code = np.searchsorted(values, labels[anchor])
    similar = np.arange(n) % 2 == 0
    # Among the cells of a label, or, counted on from their end, among all others.
    draw = random.random(n)
    inside = starts[code] + (draw * sizes[code]).astype(np.int64)
    outside = (starts[code] + sizes[code] + (draw * (len(Z) - sizes[code])).astype(np.int64)) % len(Z)
    difference = Z[anchor] - Z[order[np.where(similar, inside, outside)]]
    a, b = random.integers(len(Z), size=(2, n))
    near, far = np.percentile(((Z[a] - Z[b]) ** 2).sum(axis=1), [NEAR, FAR])
    kept = (difference**2).sum(axis=1) > 0
    return Pairs(difference[kept], similar[kept], np.where(similar, near, far)[kept])


def components(A: Floats, Z: Floats, latent_dim: int) -> Floats:
    r"""Return L, (latent_dim, dim), with :math:`L^T L` as near to A as the cells can tell.

    Its rows are the principal components of the cells in the metric of A, so that distances lose least.
    """
    size, U = np.linalg.eigh(A)
    root = (U * np.sqrt(np.maximum(size, 0))) @ U.T
    _, V = np.linalg.eigh(np.cov(Z @ root, rowvar=False))
    L: Floats = leading(V, latent_dim) @ root
    return L
