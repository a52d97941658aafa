"""Attribution of the distance between cells to genes: pairs of cells, integrated gradients, averages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from scipy.special import stdtrit

from scim._core import require
from scim.io.cells import dense
from scim.model.net import torch_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.model.net import DenseEncoder
    from scim.model.net._encode import Rows

Method = Literal["gausslegendre", "riemann_trapezoid", "riemann_middle", "riemann_left", "riemann_right"]
"""Quadrature rules along a path, by captum's names."""

_BYTES = 8_000_000  # of the values of all steps of a chunk of pairs, which torch needs some ten times over
_BLOCK = 256  # pairs that are averaged at a time: 29 MB for 28,000 genes


class Pairs(NamedTuple):
    """Row-paired cells."""

    anchors: NDArray[np.int64]
    """(n_pairs,) rows of the cells that are explained"""
    negatives: NDArray[np.int64]
    """(n_pairs,) rows of the cells that they are compared with"""


class Attribution(NamedTuple):
    """Attributions of each gene over the pairs of one group; NaN for genes that were not observed."""

    mean: NDArray[np.float32]
    """(n_genes,) at least 0"""
    std: NDArray[np.float32]
    """(n_genes,) standard deviation over the pairs; NaN of a single pair"""
    ci: NDArray[np.float32]
    """(n_genes,) half the width of the 95 % interval of the mean, by Student's t; NaN of a single pair"""


def draw_pairs(
    codes: NDArray[np.integer],
    group: int,
    others: Sequence[int] | NDArray[np.integer],
    n_pairs: int,
    rng: np.random.Generator,
) -> Pairs:
    """Pair cells of one group with cells of other groups, each other group equally often.

    Cells and groups come in random order, and in a new order once all have been drawn, so that none is drawn twice
    more often than another. `codes`, (n_obs,), are the groups of the cells, -1 = in none; `others` those of negatives.
    """
    anchors = _draw_in_turn(np.flatnonzero(codes == group), n_pairs, rng)
    negative_groups = _draw_in_turn(np.asarray(others), n_pairs, rng)
    negatives = np.empty(n_pairs, dtype=np.int64)
    for other in np.unique(negative_groups):
        rows = negative_groups == other
        negatives[rows] = _draw_in_turn(np.flatnonzero(codes == other), int(rows.sum()), rng)
    return Pairs(anchors, negatives)


def _draw_in_turn(values: NDArray[np.integer], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    rounds = [rng.permutation(values) for _ in range(-(-n // len(values)))]
    return np.concatenate(rounds)[:n].astype(np.int64)


def integrated_gradients(
    encoder: DenseEncoder, anchors: Rows, negatives: Rows, *, n_steps: int = 50, method: Method = "gausslegendre"
) -> NDArray[np.float32]:
    r"""Attribute the squared distance of two cells' embeddings to the genes :cite:p:`Sundararajan2017`.

    For an anchor :math:`x` and a negative :math:`x'` as the baseline, with :math:`f` the encoder, gene :math:`g` gets

    .. math::

        a_g = (x_g - x'_g) \int_0^1 \frac{\partial}{\partial x_g} \lVert f(x') - f(x' + t (x - x')) \rVert^2 \, dt,

    and the genes together :math:`\sum_g a_g = \lVert f(x') - f(x) \rVert^2`, up to the error of the steps.
    Computed by captum :cite:p:`Kokhlikyan2020`.

    Parameters
    ----------
    encoder
        The net, with the genes that were observed.
    anchors, negatives
        Log-normalised values, shape (n_pairs, n_genes), none of the cells empty; row by row a pair.
    n_steps
        Points of each path at which gradients are taken.
    method
        Quadrature rule that places and weights the points.

    Returns
    -------
    float32, shape (n_pairs, n_genes): of any sign; NaN for genes that were not observed.

    Raises
    ------
    ValueError
        The shapes differ, or are not those of the encoder, or a cell has no value among the observed genes.
    ImportError
        captum is not installed: `pip install "scim-atlas[explain]"`.
    """
    require("captum", "explain")
    shapes = {anchors.shape, negatives.shape}
    if shapes != {(anchors.shape[0], encoder.observed.size)}:
        msg = f"Expected anchors and negatives of shape (n_pairs, {encoder.observed.size}), got {sorted(shapes)}."
        raise ValueError(msg)
    out = np.full(anchors.shape, np.nan, dtype=np.float32)
    step = max(1, _BYTES // (4 * n_steps * sum(encoder.widths)))
    for start in range(0, anchors.shape[0], step):
        rows = slice(start, start + step)
        x, baseline = (_observed_values(X[rows], encoder.observed) for X in (anchors, negatives))
        out[rows, encoder.observed] = _attribute(encoder, x, baseline, n_steps, method)
    return out


def attributions(
    encoder: DenseEncoder, anchors: Rows, negatives: Rows, *, n_steps: int = 50, method: Method = "gausslegendre"
) -> NDArray[np.float32]:
    """Return the attribution of each gene of which the anchor has more than the negative :cite:p:`Heimberg2025`.

    These are the absolute integrated gradients where the anchor's value is greater than the negative's, else 0.
    Parameters, shapes and errors are those of :func:`integrated_gradients`.
    """
    values = integrated_gradients(encoder, anchors, negatives, n_steps=n_steps, method=method)
    greater = _dense(anchors) > _dense(negatives)
    return np.where(greater | ~encoder.observed, np.abs(values), np.float32(0))


def average_attributions(encoder: DenseEncoder, anchors: Rows, negatives: Rows, *, n_steps: int = 50) -> Attribution:
    """Average the attributions of row-paired cells of one group; see :func:`attributions` for the parameters."""
    n, n_genes = anchors.shape
    total, squares = np.zeros(n_genes), np.zeros(n_genes)
    for start in range(0, n, _BLOCK):
        rows = slice(start, start + _BLOCK)
        values = attributions(encoder, anchors[rows], negatives[rows], n_steps=n_steps)
        total += values.sum(axis=0, dtype=np.float64)
        squares += np.square(values, dtype=np.float64).sum(axis=0)
    missing = np.full(n_genes, np.nan, dtype=np.float32)
    if n == 0:
        return Attribution(missing, missing, missing)
    mean = total / n
    if n == 1:
        return Attribution(mean.astype(np.float32), missing, missing)
    std = np.sqrt(np.maximum(squares - n * mean**2, 0) / (n - 1))
    ci = stdtrit(n - 1, 0.975) * std / np.sqrt(n)
    return Attribution(mean.astype(np.float32), std.astype(np.float32), ci.astype(np.float32))


def _attribute(
    encoder: DenseEncoder, x: torch.Tensor, baseline: torch.Tensor, n_steps: int, method: Method
) -> NDArray[np.float32]:
    from captum.attr import IntegratedGradients  # noqa: PLC0415  (an extra, slow to import)

    # Gradients are needed even where the caller has switched them off.
    with torch.inference_mode(mode=False), torch.enable_grad(), torch_threads():
        origin = encoder(baseline).detach()
        squared_distance = IntegratedGradients(lambda x, origin: (encoder(x) - origin).square().sum(1))
        gradients = squared_distance.attribute(
            x, baseline, additional_forward_args=(origin,), n_steps=n_steps, method=method
        )
        values: NDArray[np.float32] = gradients.detach().numpy()
    return values


def _dense(X: Any) -> NDArray[np.floating[Any]]:
    return dense(X, "X")


def _observed_values(X: Any, observed: NDArray[np.bool_]) -> torch.Tensor:
    x = torch.from_numpy(np.ascontiguousarray(_dense(X)[:, observed], dtype=np.float32))
    n_empty = int((~x.any(dim=1)).sum())
    if n_empty:
        msg = f"{n_empty} cells have no value in any observed gene and so no embedding; leave their pairs out."
        raise ValueError(msg)
    return x
