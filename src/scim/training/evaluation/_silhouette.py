"""Silhouettes of each cell, by the Cell Ontology, by label and by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scim._core.cosine import normalize
from scim.ontology import is_descendant

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_PAIRS = 4_000_000  # distances that are held at a time: 32 MB
_ZERO = 1e-12  # a smaller mean distance is rounding: the cells are at one point
_ROUNDING = 1e-14  # of a squared distance computed from squared lengths and a product, generously


def ontology_silhouette(X: NDArray[np.floating[Any]], labels: ArrayLike) -> NDArray[np.float64]:
    r"""Return the silhouette of each cell, by the Cell Ontology.

    With :math:`a_i` the mean cosine distance to the other cells of its label or a descendant of it, and :math:`b_i`
    the smallest of the mean distances to the cells of each other label, ancestors left out,
    :math:`s_i = (b_i - a_i) / \max(a_i, b_i)` :cite:p:`Heimberg2025`, after :cite:t:`Rousseeuw1987`.

    Time and memory grow with the number of cells times that of labels, because cosines are added up as vectors.

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
    includes = is_descendant(list(names), list(names))
    unit = normalize(np.asarray(X, dtype=np.float64))
    totals = np.stack([unit[codes == code].sum(axis=0) for code in range(len(names))])  # (n_labels, dim)
    sizes = np.bincount(codes, minlength=len(names))
    out = np.empty(len(unit))
    for code in range(len(names)):
        rows = np.flatnonzero(codes == code)
        sums = sizes - unit[rows] @ totals.T  # (n, n_labels) distances, summed
        inside, outside = includes[code], ~includes[code] & ~includes[:, code]
        to_itself = 1 - np.square(unit[rows]).sum(axis=1)  # 1 for a row of zeros
        sum_inside = sums[:, inside].sum(axis=1) - to_itself
        out[rows] = _silhouette(sum_inside, int(sizes[inside].sum()), sums[:, outside], sizes[outside])
    return out


class Silhouettes(NamedTuple):
    """Silhouettes of each cell."""

    label: NDArray[np.float64]
    """(n,) -1 to 1: against the nearest other label; NaN where there is none."""
    batch: NDArray[np.float64]
    """(n,) -1 to 1: within its label, against the nearest other batch; NaN where the label has one batch, or as many
    batches as cells."""


def silhouettes(X: NDArray[np.floating[Any]], labels: ArrayLike, batches: ArrayLike) -> Silhouettes:
    r"""Return the silhouettes of each cell by label, and by batch within its label, on Euclidean distance.

    :math:`s_i = (b_i - a_i) / \max(a_i, b_i)` with :math:`a_i` the mean distance to the other cells of its cluster and
    :math:`b_i` the least mean distance to another cluster :cite:p:`Rousseeuw1987`. scIB :cite:p:`Luecken2022` reports
    :math:`(\bar s + 1) / 2` over all cells by label, and for batches the mean over the labels of the mean of
    :math:`1 - |s_i|`: 1 where batches cannot be told apart. Distances of all pairs are computed once for both.

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
    >>> scores = silhouettes(np.array([[0.0], [0.0], [1.0], [1.0]]), ["a", "a", "b", "b"], ["x", "y", "x", "y"])
    >>> scores.label.tolist()
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
        members = np.flatnonzero(label_of == code)
        if len(members) > 1 and sizes[members].max() > 1:
            rows = np.flatnonzero(label == code)
            out[rows] = _clusters(sums[np.ix_(rows, members)], sizes[members], np.searchsorted(members, pair[rows]))
    return Silhouettes(_clusters(whole, np.bincount(label), label), out)


def _clusters(
    sums: NDArray[np.float64], sizes: NDArray[np.int64], cluster: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    out = np.empty(len(cluster))
    for code in range(len(sizes)):
        rows, others = cluster == code, np.arange(len(sizes)) != code
        out[rows] = _silhouette(sums[rows, code], int(sizes[code]), sums[np.ix_(rows, others)], sizes[others])
    return out


def _silhouette(
    inside: NDArray[np.float64], n_inside: int, outside: NDArray[np.float64], sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return silhouettes from distances summed over a cell's cluster (n,) and over each other cluster (n, n_others)."""
    if not len(sizes):
        return np.full(len(inside), np.nan)
    if n_inside == 1:
        return np.zeros(len(inside))
    a, b = inside / (n_inside - 1), (outside / sizes).min(axis=1)
    larger = np.maximum(a, b)
    return np.asarray(np.divide(b - a, larger, out=np.zeros(len(a)), where=larger > _ZERO))


def _distance_sums(X: NDArray[np.float64], groups: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Sum the Euclidean distances of each row to the rows of each group, (n, n_groups)."""
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(groups.max() + 1))
    rows, squares = X[order], np.square(X).sum(axis=1)
    out = np.empty((len(X), len(starts)))
    step = max(1, _PAIRS // len(X))
    for start in range(0, len(X), step):
        block = np.arange(start, min(start + step, len(X)))
        scale = squares[block, None] + squares[None, order]
        squared = scale - 2 * (X[block] @ rows.T)
        squared[squared < _ROUNDING * scale] = 0  # as a cell's distance to itself
        out[block] = np.add.reduceat(np.sqrt(squared), starts, axis=1)
    return out
