"""What surrounds a cell: purity of its neighbours, and whether its label hangs together; one value a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from scim.ontology import is_descendant

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def purity(neighbours: NDArray[np.int64], labels: ArrayLike, studies: ArrayLike | None = None) -> NDArray[np.float64]:
    r"""Return the share of the neighbours of each cell that have its label.

    :math:`p_i = |\{j \in N_i : l_j \in D(l_i)\}| / |\{j \in N_i : l_j \notin A(l_i)\}|` with :math:`D` a label and its
    descendants in the Cell Ontology and :math:`A` its ancestors: a neighbour whose label says less is no witness.
    :math:`N_i` are the k nearest, or the :math:`n_i` nearest if only :math:`n_i < k` cells have a label of
    :math:`D(l_i)`, so that a rare label can be pure too.

    Parameters
    ----------
    neighbours
        (n, k) positions of the nearest cells, nearest first, without the cell itself; -1 = none.
    labels
        (n,) Cell Ontology ids or names, or free words.
    studies
        (n,) of each cell, if `neighbours` are cells of other studies.

    Returns
    -------
    (n,), 0 to 1; NaN where no other cell has the label, or no neighbour is a witness.

    Examples
    --------
    >>> import numpy as np
    >>> from scim.training.evaluation import purity
    >>> purity(np.array([[1, 2], [0, 2], [1, 0]]), ["T cell", "T cell", "B cell"]).tolist()
    [1.0, 1.0, nan]
    """
    codes, names = pd.factorize(np.asarray(labels, dtype=object))
    under = is_descendant(list(names), list(names))
    real = (neighbours >= 0) & (np.arange(neighbours.shape[1]) < _alike(codes, under, studies)[:, None])
    other = codes[np.where(real, neighbours, 0)]
    right = real & under[codes[:, None], other]
    counted = right | (real & ~under[other, codes[:, None]])
    n = counted.sum(axis=1)
    out: NDArray[np.float64] = np.divide(right.sum(axis=1), n, out=np.full(len(codes), np.nan), where=n > 0)
    return out


def _alike(codes: NDArray[np.intp], under: NDArray[np.bool_], studies: ArrayLike | None) -> NDArray[np.int64]:
    """Count the other cells, or those of other studies, whose label counts as that of a cell, (n,)."""
    each = under.astype(np.int64)
    whole = each @ np.bincount(codes, minlength=len(under))
    if studies is None:
        return np.asarray(whole[codes] - 1)
    study, names = pd.factorize(np.asarray(studies, dtype=object))
    cells = np.zeros((len(under), len(names)), dtype=np.int64)
    np.add.at(cells, (codes, study), 1)
    return np.asarray(whole[codes] - (each @ cells)[codes, study])


def connected(neighbours: NDArray[np.int64], labels: ArrayLike) -> NDArray[np.bool_]:
    r"""Say which cells lie in the largest connected component of the graph of their label.

    The edges are those of the k nearest neighbours, seen as undirected, between cells of the label. The mean over
    the labels of the share of such cells is the graph connectivity of scIB, :math:`\frac{1}{|C|} \sum_c
    |\mathrm{LCC}(G_c)| / |G_c|` :cite:p:`Luecken2022`.

    Parameters
    ----------
    neighbours
        (n, k) positions of the nearest cells; -1 = none.
    labels
        (n,) of each cell.
    """
    codes, names = pd.factorize(np.asarray(labels, dtype=object))
    n, k = neighbours.shape
    ends = neighbours.ravel()
    starts = np.repeat(np.arange(n), k)
    inside = (ends >= 0) & (codes[starts] == codes[ends])
    edges = sparse.csr_matrix((np.ones(int(inside.sum())), (starts[inside], ends[inside])), shape=(n, n))
    component = connected_components(edges, directed=False)[1]  # each within a label
    sizes = np.bincount(component)
    label_of = np.zeros(len(sizes), dtype=np.int64)
    label_of[component] = codes
    order = np.lexsort((-np.arange(len(sizes)), sizes))  # ascending; of equal ones the first is largest
    largest = np.zeros(len(names), dtype=np.int64)
    largest[label_of[order]] = order
    return np.asarray(largest[codes] == component)
