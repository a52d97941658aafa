"""From cells to a linear metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.checks import check_choice, check_count
from scim._core.log import logger
from scim.training.linear._affine import Affine
from scim.training.linear._basis import find_basis
from scim.training.linear._itml import components, itml
from scim.training.linear._lda import lda
from scim.training.linear._lmnn import lmnn
from scim.training.linear._methods import LINEAR
from scim.training.linear._nca import nca
from scim.training.linear._pairs import draw_pairs
from scim.training.linear._project import project
from scim.training.linear._start import start
from scim.training.linear._whitening import whitening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from scim.training.linear._block import Block
    from scim.training.linear._methods import LinearObjective
    from scim.training.linear._project import Projected

N_SAMPLE = 2000
"""Cells that the methods see which compare them pair by pair."""

STEPS = 30
"""Of those that descend by steps."""

STAY_LMNN, STAY_NCA = 0.1, 0.01
"""How strongly they are held at the whitening they start from. Left free, they fit the sample: on studies left out the
macro-F1 of the same method then lay anywhere between .61 and .86, depending on the seed."""


def fit_linear(
    method: LinearObjective,
    blocks: Callable[[], Iterable[Block]],
    *,
    latent_dim: int,
    random: np.random.Generator,
) -> Affine:
    r"""Fit a linear metric :math:`z = L (x - m)`, in two readings of the cells.

    Parameters
    ----------
    method
        `"whitening"` (Mahalanobis), `"lda"` (Fisher), `"linear_nca"`, `"lmnn"`, `"itml"`.
    blocks
        Called twice; returns the same cells each time, some at a time, with their weights. Weights that make labels
        alike within studies make the metric one of labels, not of numbers of cells.
    latent_dim
        Rows of L. There may be fewer, which is said in the log: at most one fewer than labels for `"lda"`, at most
        100 for the methods that compare cells.
    random
        Draws the random directions, the sample, the pairs.

    Returns
    -------
    The map; :func:`encoder_of` makes an encoder of it. The encoder brings rows to length 1, and an index compares
    them by cosine, so what is compared is not :math:`\lVert L (x - y) \rVert` but the angle at which the two cells
    are seen from the mean of all, :math:`\lVert z_x / \lVert z_x \rVert - z_y / \lVert z_y \rVert \rVert`: how far
    a cell lies from the mean does not count, only in which direction.

    Raises
    ------
    ValueError
        The method is unknown, all cells that it should tell apart have one label, or blocks are not what they should
        be: see :class:`Block`.

    Notes
    -----
    The first reading finds a basis of at most 256 directions and the means of the labels, the second the covariances
    in it: memory 2 (n_genes x 256) numbers beside a block, whatever the number of cells. `"whitening"` and `"lda"`
    need no more. The others see a sample of 2,000 cells, drawn by weight, in 100 whitened components: in steps of
    2,000 x 2,000 x 100 operations and memory for a few matrices of 2,000 x 512; `"itml"` for at most 10,000 pairs.

    What to choose: on studies left out `"lda"` did best or nearly. `"whitening"` is the Mahalanobis distance by the
    covariance within labels, since that of all cells keeps the differences between studies. `"linear_nca"` and
    `"lmnn"` start from it and are held near it.
    """
    check_choice("objective", method, LINEAR)
    check_count("latent_dim", latent_dim)
    basis = find_basis(blocks, random)
    cells = project(blocks, basis, n_sample=N_SAMPLE, random=random)
    if method != "whitening" and len(cells.share) < 2:
        msg = f"{method!r} tells labels apart; expected cells of at least two, got one."
        raise ValueError(msg)
    T = _solve(method, cells, latent_dim, random)
    if len(T) < latent_dim:
        logger.info("%s gives %d dimensions, not %d", method, len(T), latent_dim)
    weight = T @ basis.directions.T
    return Affine(weight.astype(np.float32), (-weight @ basis.mean).astype(np.float32))


def _solve(
    method: LinearObjective, cells: Projected, latent_dim: int, random: np.random.Generator
) -> NDArray[np.float64]:
    if method == "whitening":
        return whitening(cells, latent_dim)
    if method == "lda":
        return lda(cells, latent_dim)
    T, Z, L = start(cells, latent_dim)
    if method == "linear_nca":
        return nca(Z, cells.labels, L, studies=cells.studies, stay=STAY_NCA, max_steps=STEPS) @ T
    if method == "lmnn":
        return lmnn(Z, cells.labels, L, studies=cells.studies, stay=STAY_LMNN, max_steps=STEPS).L @ T
    return components(itml(draw_pairs(Z, cells.labels, random)), Z, latent_dim) @ T
