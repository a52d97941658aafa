"""What surrounds a cell: purity of its neighbours, and whether its label hangs together; one value a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from scim.model.evaluation._terms import below

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def purity(neighbours: NDArray[np.int64], labels: ArrayLike) -> NDArray[np.float64]:
    r"""Return the share of the neighbours of each cell that have its label.

    :math:`p_i = |\{j \in N_i : l_j \in D(l_i)\}| / |\{j \in N_i : l_j \notin A(l_i)\}|` with :math:`D` a label and its
    descendants in the Cell Ontology and :math:`A` its ancestors: a neighbour whose label says less is no witness.

    Parameters
    ----------
    neighbours
        (n, k) positions of the nearest cells; -1 = none.
    labels
        (n,) Cell Ontology ids or names, or free words.

    Returns
    -------
    (n,), 0 to 1; NaN where no neighbour is a witness.
    """
    codes, names = pd.factorize(np.asarray(labels, dtype=object))
    under = below(list(names), list(names))
    real = neighbours >= 0
    other = codes[np.where(real, neighbours, 0)]
    right = real & under[codes[:, None], other]
    counted = right | (real & ~under[other, codes[:, None]])
    n = counted.sum(axis=1)
    out: NDArray[np.float64] = np.divide(right.sum(axis=1), n, out=np.full(len(codes), np.nan), where=n > 0)
    return out


def in_other_studies(labels: ArrayLike, studies: ArrayLike) -> NDArray[np.bool_]:
    """Say of which cells another study has the label or a descendant of it, (n,)."""
    codes, names = pd.factorize(np.asarray(labels, dtype=object))
    study, study_names = pd.factorize(np.asarray(studies, dtype=object))
    has = np.zeros((len(names), len(study_names)), dtype=np.int64)
    has[codes, study] = 1
    either = below(list(names), list(names)).astype(np.int64) @ has > 0  # (n_labels, n_studies)
    return np.asarray(either.sum(axis=1)[codes] > 1)  # its own study has it


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
