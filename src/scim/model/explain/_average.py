"""Attributions of many pairs to what is known of each gene: mean, spread, and how sure the mean is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import stdtrit

from scim.model.explain._gradients import attributions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.model.explain._gradients import Rows
    from scim.model.net import DenseEncoder

_BLOCK = 256
"""Pairs whose attributions are held at a time: 29 MB for 28,000 genes."""


class Attribution(NamedTuple):
    """What the pairs of one group say of each gene; NaN for genes that were not observed."""

    mean: NDArray[np.float32]
    """(n_genes,) at least 0"""

    std: NDArray[np.float32]
    """(n_genes,) standard deviation over the pairs; NaN of a single pair"""

    ci: NDArray[np.float32]
    """(n_genes,) half the width of the 95 % interval of the mean, by Student's t; NaN of a single pair"""


def average_attributions(encoder: DenseEncoder, anchors: Rows, negatives: Rows, *, n_steps: int = 50) -> Attribution:
    """Average the attributions of row-paired cells of one group.

    Parameters
    ----------
    encoder
        The net, with the genes that were observed.
    anchors, negatives
        Log-normalised values, shape (n_pairs, n_genes), none of the cells empty.
    n_steps
        Points of each path at which gradients are taken.
    """
    n, n_genes = anchors.shape
    total, squares = np.zeros(n_genes), np.zeros(n_genes)
    for start in range(0, n, _BLOCK):
        rows = slice(start, start + _BLOCK)
        values = attributions(encoder, anchors[rows], negatives[rows], n_steps=n_steps)
        total += values.sum(axis=0, dtype=np.float64)
        squares += np.square(values, dtype=np.float64).sum(axis=0)
    return _summary(total, squares, n)


def _summary(total: NDArray[np.float64], squares: NDArray[np.float64], n: int) -> Attribution:
    nothing = np.full(total.shape, np.nan, dtype=np.float32)
    if n == 0:
        return Attribution(nothing, nothing, nothing)
    mean = total / n
    if n == 1:
        return Attribution(mean.astype(np.float32), nothing, nothing)
    std = np.sqrt(np.maximum(squares - n * mean**2, 0) / (n - 1))
    ci = stdtrit(n - 1, 0.975) * std / np.sqrt(n)
    return Attribution(mean.astype(np.float32), std.astype(np.float32), ci.astype(np.float32))
