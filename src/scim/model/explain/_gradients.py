"""Integrated gradients of the squared distance between the embeddings of two cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from scim._core.settings import settings
from scim.model.net import torch_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from scipy import sparse

    from scim.model.net import DenseEncoder

    Rows = sparse.csr_matrix[Any] | sparse.csr_array[Any] | NDArray[np.floating[Any]]

Method = Literal["gausslegendre", "riemann_trapezoid", "riemann_middle", "riemann_left", "riemann_right"]
"""At which points of a path gradients are taken, and how they are weighed: the names that captum gives them."""

_BYTES = 8_000_000
"""What the values of all steps of the pairs in flight may take; torch keeps some ten times as much to go back. More is
slower: it no longer fits the caches."""


def integrated_gradients(
    encoder: DenseEncoder,
    anchors: Rows,
    negatives: Rows,
    *,
    n_steps: int = 50,
    method: Method = "gausslegendre",
) -> NDArray[np.float32]:
    r"""Attribute the squared distance of two cells' embeddings to the genes :cite:p:`Sundararajan2017`.

    For an anchor :math:`x` and a negative :math:`x'`, with :math:`f` the encoder, gene :math:`g` gets

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
        Which points.

    Returns
    -------
    float32, shape (n_pairs, n_genes): of any sign; NaN for genes that were not observed.

    Raises
    ------
    ValueError
        The shapes differ, or are not those of the encoder, or a cell has no value among the observed genes.
    """
    out = np.full(anchors.shape, np.nan, dtype=np.float32)
    for rows, _, values in _in_chunks(encoder, anchors, negatives, n_steps, method):
        out[rows, encoder.observed] = values
    return out


def attributions(
    encoder: DenseEncoder,
    anchors: Rows,
    negatives: Rows,
    *,
    n_steps: int = 50,
    method: Method = "gausslegendre",
) -> NDArray[np.float32]:
    """Return by how much each gene that the anchor has more of sets it apart :cite:p:`Heimberg2025`.

    These are the absolute integrated gradients where the anchor's value is greater than the negative's, else 0.
    Parameters and errors are those of :func:`integrated_gradients`.

    Returns
    -------
    float32, shape (n_pairs, n_genes): at least 0; NaN for genes that were not observed.
    """
    out = np.full(anchors.shape, np.nan, dtype=np.float32)
    for rows, more, values in _in_chunks(encoder, anchors, negatives, n_steps, method):
        out[rows, encoder.observed] = np.where(more, np.abs(values), 0)
    return out


def _in_chunks(
    encoder: DenseEncoder, anchors: Rows, negatives: Rows, n_steps: int, method: Method
) -> Iterator[tuple[slice, NDArray[np.bool_], NDArray[np.float32]]]:
    """Yield rows, where their anchor has more than the negative, and the integrated gradients."""
    shapes = {anchors.shape, negatives.shape}
    if shapes != {(anchors.shape[0], encoder.observed.size)}:
        msg = f"Expected anchors and negatives of shape (n_pairs, {encoder.observed.size}), got {sorted(shapes)}."
        raise ValueError(msg)
    step = max(1, _BYTES // (4 * n_steps * sum(encoder.widths)))
    for start in range(0, anchors.shape[0], step):
        rows = slice(start, start + step)
        x, baseline = (_dense(X[rows], encoder.observed) for X in (anchors, negatives))
        yield rows, (x > baseline).numpy(), _attribute(encoder, x, baseline, n_steps, method)


def _attribute(
    encoder: DenseEncoder, x: torch.Tensor, baseline: torch.Tensor, n_steps: int, method: Method
) -> NDArray[np.float32]:
    from captum.attr import IntegratedGradients  # noqa: PLC0415  (who embeds should not wait for it)

    # Gradients are wanted even where the caller has switched them off.
    with torch.inference_mode(mode=False), torch.enable_grad(), torch_threads(settings.n_threads):
        start = encoder(baseline).detach()
        path = IntegratedGradients(lambda moving, still: (encoder(moving) - still).square().sum(1))
        found = path.attribute(x, baseline, additional_forward_args=(start,), n_steps=n_steps, method=method)
        values: NDArray[np.float32] = found.detach().numpy()
    return values


def _dense(X: Any, observed: NDArray[np.bool_]) -> torch.Tensor:
    rows = X.toarray() if hasattr(X, "toarray") else np.asarray(X)
    x = torch.from_numpy(np.ascontiguousarray(rows[:, observed], dtype=np.float32))
    empty = int((~x.any(dim=1)).sum())
    if empty:
        msg = (
            f"{empty} cells have no value in any observed gene, so that they have no embedding; leave their pairs out."
        )
        raise ValueError(msg)
    return x
