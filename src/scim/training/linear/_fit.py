"""From cells to a linear metric: the door, and the metrics with a closed form (whitening, LDA)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy import linalg

from scim._core import check_choice, check_count, logger
from scim.model.net import Encoder
from scim.training.linear._moments import SKETCH, find_basis, leading, project
from scim.training.linear._pairwise import PUSH, components, draw_pairs, itml, lmnn, nca, squared_distances

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from scim.model._config import ModelConfig
    from scim.training.linear._moments import Block, Projected

LINEAR = ("whitening", "lda", "linear_nca", "lmnn", "itml")

N_SAMPLE, MOST_DIMENSIONS, STEPS = 2000, 100, 30  # cells, components and steps of the methods that compare pairs
# Weights that hold the methods at their start. Without, they fit the sample: macro-F1 .61 to .86 by the seed.
STAY_LMNN, STAY_NCA = 0.1, 0.01


class Affine(NamedTuple):
    """The map z = weight @ x + bias; rows are then brought to length 1."""

    weight: NDArray[np.float32]
    """(latent_dim, n_genes)"""
    bias: NDArray[np.float32]
    """(latent_dim,)"""


def fit_linear(
    method: str,
    blocks: Callable[[], Iterable[Block]],
    *,
    latent_dim: int,
    random: np.random.Generator,
    push_weight: float = PUSH,
) -> Affine:
    r"""Fit a linear metric :math:`z = L (x - m)`, in two passes over the cells.

    The encoder brings rows to length 1, so that only the direction of a cell from the mean counts, not its distance:
    what is compared is :math:`\lVert z_x / \lVert z_x \rVert - z_y / \lVert z_y \rVert \rVert`.

    Parameters
    ----------
    method
        `"whitening"` (Mahalanobis), `"lda"` (Fisher), `"linear_nca"`, `"lmnn"`, `"itml"`.
    blocks
        Called twice; returns the same cells each time, in parts, with their weights. Weights that make labels alike
        within studies make the metric one of labels, not of numbers of cells.
    latent_dim
        Rows of L. There may be fewer, with a line in the log: at most one fewer than labels for `"lda"`, at most 100
        for the methods that compare pairs.
    random
        Draws the random directions, the sample, the pairs.
    push_weight
        Of `"lmnn"`: share of the impostors in the loss; the rest is that of the targets.

    Raises
    ------
    ValueError
        The method is unknown, all cells that it should tell apart have one label, or a :class:`Block` is invalid.

    Notes
    -----
    The first pass finds a basis of at most 256 directions and the means of the labels, the second the covariances in
    it: memory 2 (n_genes x 256) numbers beside a block. The methods that compare pairs use a sample of 2,000 cells,
    drawn by weight, in 100 whitened components, and memory for a few matrices of 2,000 x 512.

    On held-out studies `"lda"` did best or nearly. `"whitening"` is the Mahalanobis distance by the covariance within
    labels, since that of all cells keeps the differences between studies. `"linear_nca"` and `"lmnn"` start from it
    and are held near it.
    """
    check_choice("objective", method, LINEAR)
    check_count("latent_dim", latent_dim)
    basis = find_basis(blocks, random)
    cells = project(blocks, basis, n_sample=N_SAMPLE, random=random)
    if method != "whitening" and len(cells.share) < 2:
        msg = f"{method!r} tells labels apart; expected cells of at least two, got one."
        raise ValueError(msg)
    T = _solve(method, cells, latent_dim, random, push_weight)
    if len(T) < latent_dim:
        logger.info("%s gives %d dimensions, not %d", method, len(T), latent_dim)
    weight = T @ basis.directions.T
    return Affine(weight.astype(np.float32), (-weight @ basis.mean).astype(np.float32))


def encoder_of(affine: Affine, config: ModelConfig) -> Encoder:
    """Return an encoder in evaluation mode that applies a map to the input that `config` describes."""
    latent_dim, n_genes = affine.weight.shape
    if n_genes != config.n_genes:
        msg = f"The map reads {n_genes} genes, config.n_genes is {config.n_genes}; fit it to cells of those genes."
        raise ValueError(msg)
    encoder = Encoder(replace(config, hidden=(), latent_dim=latent_dim), torch.Generator())
    with torch.no_grad():
        encoder.head.weight.copy_(torch.from_numpy(affine.weight))
        encoder.head.bias.copy_(torch.from_numpy(affine.bias))
    return encoder.eval()


def _solve(
    method: str, cells: Projected, latent_dim: int, random: np.random.Generator, push: float
) -> NDArray[np.float64]:
    if method == "whitening":
        return whitening(cells, latent_dim)
    if method == "lda":
        return lda(cells, latent_dim)
    T, Z, L = _whitened_sample(cells, latent_dim)
    if method == "linear_nca":
        return nca(Z, cells.labels, L, studies=cells.studies, stay=STAY_NCA, max_steps=STEPS) @ T
    if method == "lmnn":
        return lmnn(Z, cells.labels, L, studies=cells.studies, stay=STAY_LMNN, push=push, max_steps=STEPS) @ T
    return components(itml(draw_pairs(Z, cells.labels, random)), Z, latent_dim) @ T


def whitened(
    blocks: Callable[[], Iterable[Block]], random: np.random.Generator, rank: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a whitening map, (dim, n_genes), and the first map of a descent behind it, (rank, dim).

    Blocks are those of :func:`fit_linear`. The mean squared distance of two cells is 2 after the first map; `dim` is at
    most 256. The second map takes the directions along which labels differ most. `rank=None`: all directions.
    """
    basis = find_basis(blocks, random)
    cells = project(blocks, basis, n_sample=1, random=random)
    T = whitening(cells, min(SKETCH, basis.directions.shape[1]))
    within, between = T @ cells.within @ T.T, T @ cells.between @ T.T
    # There are no more directions between labels than labels; the others are sorted by what is within labels.
    _, V = np.linalg.eigh(between + 1e-6 * within)
    T /= np.sqrt(max(np.trace(within + between), np.finfo(float).tiny))
    return T @ basis.directions.T, leading(V, len(V) if rank is None else rank)


def _whitened_sample(cells: Projected, latent_dim: int) -> tuple[NDArray[np.float64], ...]:
    """Return the whitening map (dim, rank), the sample (n, dim) and the first map (latent_dim, dim) of a descent.

    The sample is scaled so that the nearest cell of a cell lies at a distance of about 1, the margin of `"lmnn"`.
    """
    T = whitening(cells, MOST_DIMENSIONS)
    _, V = np.linalg.eigh(T @ (cells.within + cells.between) @ T.T)
    Z = cells.Z @ T.T
    d = squared_distances(Z, Z)
    np.fill_diagonal(d, np.inf)
    near = float(np.median(d.min(axis=1)))
    scale = near**-0.5 if 0 < near < np.inf else 1.0
    return T * scale, Z * scale, leading(V, latent_dim)


def whitening(cells: Projected, latent_dim: int, *, shrinkage: float | None = None) -> NDArray[np.float64]:
    r"""Return :math:`(V^T S V)^{-1/2} V^T`, shape (latent_dim, rank).

    V has the first principal components of all cells, S is the shrunk covariance within labels: directions along
    which cells of a label vary, whatever the reason, count less (:cite:t:`Mahalanobis1936`).
    """
    S = shrink(cells.within, ledoit_wolf(cells) if shrinkage is None else shrinkage)
    _, V = np.linalg.eigh(cells.within + cells.between)
    V = leading(V, latent_dim).T
    size, U = np.linalg.eigh(V.T @ S @ V)
    T: NDArray[np.float64] = (U / np.sqrt(size)) @ U.T @ V.T
    return T


def lda(cells: Projected, latent_dim: int, *, shrinkage: float | None = None) -> NDArray[np.float64]:
    r"""Return the directions of the largest :math:`v^T S_B v / v^T S_W v`, shape (latent_dim, rank).

    They solve :math:`S_B v = \lambda S_W v` and have :math:`v^T S_W v = 1` (:cite:t:`Fisher1936`). There are no more
    than one fewer than labels.
    """
    S = shrink(cells.within, ledoit_wolf(cells) if shrinkage is None else shrinkage)
    _, V = linalg.eigh(cells.between, S)
    return leading(V, min(latent_dim, len(cells.share) - 1, len(S)))


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
    floor = max(1e-9 * mean, np.finfo(float).tiny)  # directions without any variance would have an infinite weight
    shrunk: NDArray[np.float64] = (1 - shrinkage) * S + (shrinkage * mean + floor) * np.eye(len(S))
    return shrunk
