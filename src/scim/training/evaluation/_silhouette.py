"""How much nearer cells are to their own label than to the next: silhouettes, one value a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scim.ontology import is_descendant

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_PAIRS = 4_000_000
"""Distances in flight: 32 MB."""
_NONE = 1e-12
"""A mean distance below this is rounding: the cells are at one point."""
_ROUNDING = 1e-14
"""Of a squared distance taken from squared lengths and a product, generously."""


def ontology_silhouette(X: NDArray[np.floating[Any]], labels: ArrayLike) -> NDArray[np.float64]:
    r"""Return the silhouette of each cell, by the Cell Ontology.

    With :math:`a_i` the mean cosine distance to the other cells of its label or a descendant of it, and :math:`b_i`
    the smallest of the mean distances to the cells of each other label, ancestors left out,
    :math:`s_i = (b_i - a_i) / \max(a_i, b_i)` :cite:p:`Heimberg2025`, after :cite:t:`Rousseeuw1987`.

    The sum of the cosines to the cells of a label is the product with the sum of their vectors, so that no pairs are
    formed: time and memory grow with the number of cells times that of labels.

    Parameters
    ----------
    X
        Embeddings (n, dim).
    labels
        (n,) Cell Ontology ids or names, or free words.

    Returns
    -------
    (n,), -1 to 1: 0 where a label has one cell, NaN where there is no other label.

    Examples
    --------
    >>> import numpy as np
    >>> from scim.training.evaluation import ontology_silhouette
    >>> X = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> ontology_silhouette(X, ["T cell", "CD4-positive, alpha-beta T cell", "B cell", "B cell"]).tolist()
    [1.0, 0.0, 1.0, 1.0]
    """
    codes, names = pd.factorize(np.asarray(labels, dtype=object))
    under = is_descendant(list(names), list(names))
    unit = _unit(X)
    totals = np.stack([unit[codes == code].sum(axis=0) for code in range(len(names))])  # (n_labels, dim)
    sizes = np.bincount(codes, minlength=len(names))
    out = np.empty(len(unit))
    for code in range(len(names)):
        rows = np.flatnonzero(codes == code)
        sums = sizes - unit[rows] @ totals.T  # (n, n_labels) distances, summed
        own, others = under[code], ~under[code] & ~under[:, code]
        itself = 1 - np.square(unit[rows]).sum(axis=1)  # 1 for a row of zeros
        inside = sums[:, own].sum(axis=1) - itself
        out[rows] = _silhouette(inside, int(sizes[own].sum()), sums[:, others], sizes[others])
    return out


class Silhouettes(NamedTuple):
    """Silhouettes of each cell."""

    label: NDArray[np.float64]
    """(n,) -1 to 1: beside the nearest other label; NaN where there is none."""
    batch: NDArray[np.float64]
    """(n,) -1 to 1: within its label, beside the nearest other batch; NaN where the label has one batch, or every
    cell a batch of its own."""


def silhouettes(X: NDArray[np.floating[Any]], labels: ArrayLike, batches: ArrayLike) -> Silhouettes:
    r"""Return the silhouettes of each cell by label, and by batch within its label, on Euclidean distance.

    :math:`s_i = (b_i - a_i) / \max(a_i, b_i)` with :math:`a_i` the mean distance to the others of its cluster and
    :math:`b_i` the least mean distance to another cluster :cite:p:`Rousseeuw1987`. scIB :cite:p:`Luecken2022` makes
    of them :math:`(\bar s + 1) / 2` over all cells by label, and for batches the mean over the labels of the mean of
    :math:`1 - |s_i|`: 1 where batches cannot be told apart.

    Distances of all pairs are looked at once for both, in blocks of 32 MB.

    Parameters
    ----------
    X
        Embeddings (n, dim).
    labels, batches
        (n,) of each cell.

    Examples
    --------
    >>> import numpy as np
    >>> from scim.training.evaluation import silhouettes
    >>> found = silhouettes(np.array([[0.0], [0.0], [1.0], [1.0]]), ["a", "a", "b", "b"], ["x", "y", "x", "y"])
    >>> found.label.tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    label, names = pd.factorize(np.asarray(labels, dtype=object))
    batch, batch_names = pd.factorize(np.asarray(batches, dtype=object))
    pair, groups = pd.factorize(label * len(batch_names) + batch)
    sums = _distance_sums(np.asarray(X, dtype=np.float64), pair)  # (n, n_groups)
    sizes = np.bincount(pair)
    label_of = groups // len(batch_names)
    whole = np.stack([sums[:, label_of == code].sum(axis=1) for code in range(len(names))], axis=1)
    out = np.full(len(label), np.nan)
    for code in range(len(names)):
        some = np.flatnonzero(label_of == code)
        if len(some) > 1 and sizes[some].max() > 1:
            rows = np.flatnonzero(label == code)
            out[rows] = _clusters(sums[np.ix_(rows, some)], sizes[some], np.searchsorted(some, pair[rows]))
    return Silhouettes(_clusters(whole, np.bincount(label), label), out)


def _clusters(
    sums: NDArray[np.float64], sizes: NDArray[np.int64], own: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    out = np.empty(len(own))
    for code in range(len(sizes)):
        rows, others = own == code, np.arange(len(sizes)) != code
        out[rows] = _silhouette(sums[rows, code], int(sizes[code]), sums[np.ix_(rows, others)], sizes[others])
    return out


def _silhouette(
    inside: NDArray[np.float64], n_inside: int, outside: NDArray[np.float64], sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return silhouettes from distances summed over the own cluster (n,) and over each other one (n, n_others)."""
    if not len(sizes):
        return np.full(len(inside), np.nan)
    if n_inside == 1:
        return np.zeros(len(inside))
    a, b = inside / (n_inside - 1), (outside / sizes).min(axis=1)
    larger = np.maximum(a, b)
    out: NDArray[np.float64] = np.divide(b - a, larger, out=np.zeros(len(a)), where=larger > _NONE)
    return out


def _distance_sums(X: NDArray[np.float64], groups: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Sum the Euclidean distances of each row to the rows of each group, (n, n_groups)."""
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(groups.max() + 1))
    rows, squares = X[order], np.square(X).sum(axis=1)
    out = np.empty((len(X), len(starts)))
    step = max(1, _PAIRS // len(X))
    for start in range(0, len(X), step):
        some = np.arange(start, min(start + step, len(X)))
        scale = squares[some, None] + squares[None, order]
        squared = scale - 2 * (X[some] @ rows.T)
        squared[squared < _ROUNDING * scale] = 0  # as a cell's distance to itself
        out[some] = np.add.reduceat(np.sqrt(squared), starts, axis=1)
    return out


def _unit(X: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return rows of length 1 in double precision; rows of zeros stay."""
    rows = np.asarray(X, dtype=np.float64)
    length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    unit: NDArray[np.float64] = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return unit
