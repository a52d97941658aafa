"""Measures of an embedding: silhouettes, purity of neighbours, connectivity of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from scim._core import check_count
from scim._core.cosine import is_directed, normalize
from scim._core.nearest import nearest
from scim._core.numba import threads
from scim.ontology import is_descendant, standardize
from scim.training.evaluation._silhouette import ontology_silhouette, silhouettes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MAX_CELLS = 10_000  # measured by default: a hundred million pairs, some seconds
_GRAPH_NEIGHBOURS = 15  # of the graph whose connectivity is measured, as in scIB and scanpy
MEASURES = (
    "ontology_silhouette", "label_silhouette", "batch_silhouette", "graph_connectivity", "knn_purity",
    "knn_purity_across",
)  # fmt: skip


def embedding_scores(
    X: NDArray[np.floating[Any]],
    labels: ArrayLike,
    studies: ArrayLike,
    *,
    k: int = 50,
    max_cells: int = MAX_CELLS,
    rng: int | np.random.Generator | None = None,
) -> dict[str, float]:
    r"""Measure how well an embedding keeps labels together and mixes studies.

    - `ontology_silhouette`: mean over the cells, see :func:`ontology_silhouette`;
    - `label_silhouette`: :math:`(\bar s + 1) / 2` over the cells, and `batch_silhouette`: mean over the labels of the
      mean of :math:`1 - |s|`, with studies as batches, see :func:`silhouettes` :cite:p:`Luecken2022`;
    - `graph_connectivity`: mean over the labels of the share of cells in the largest connected component of the graph
      of 15 neighbours :cite:p:`Luecken2022`;
    - `knn_purity`: mean over the labels of the share of the `k` nearest cells that have the label, see
      :func:`purity`; `knn_purity_across`: of the `k` nearest cells of other studies, over the labels that these have.

    All are 1 at best; `ontology_silhouette` is -1 at worst, the others 0. Distances between neighbours are cosines.

    Parameters
    ----------
    X
        Embeddings (n, dim); rows of zeros, of cells without counts, are left out.
    labels
        (n,) Cell Ontology ids or names, or free words; cells where it is missing are left out.
    studies
        (n,) of each cell.
    k
        Number of neighbours.
    max_cells
        Of more cells, so many are drawn at random and measured among each other; time grows with its square.
    rng
        Seed or generator.

    Returns
    -------
    The measures by name; NaN where one is not defined, as with one label or one study.

    Raises
    ------
    ValueError
        The lengths differ, or no cell has a label.

    Examples
    --------
    >>> import numpy as np
    >>> from scim.training.evaluation import embedding_scores
    >>> X = np.repeat(np.eye(2), 4, axis=0)
    >>> scores = embedding_scores(X, ["T cell"] * 4 + ["B cell"] * 4, ["a", "b"] * 4, k=2)
    >>> scores["knn_purity_across"]
    1.0
    """
    check_count("k", k)
    check_count("max_cells", max_cells, least=2)
    terms, batches = standardize(labels), np.asarray(studies, dtype=object)
    if not len(X) == len(terms) == len(batches):
        lengths = f"{len(X)}, {len(terms)}, {len(batches)}"
        msg = f"Embeddings, labels and studies must be as long as each other, got {lengths}."
        raise ValueError(msg)
    rows = np.flatnonzero(pd.notna(terms))
    sample = draw_cells(rows[is_directed(np.asarray(X)[rows])], max_cells, np.random.default_rng(rng))
    if not sample.size:
        msg = "No cell has a label; expected at least one that is not missing, and has an embedding that is not zero."
        raise ValueError(msg)
    return summarise(cell_scores(np.asarray(X)[sample], terms[sample], batches[sample], k))


def draw_cells(cells: NDArray[np.int64], max_cells: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return at most so many of the cells, in order."""
    return cells if len(cells) <= max_cells else np.sort(random.choice(cells, max_cells, replace=False))


def cell_scores(
    X: NDArray[np.floating[Any]], labels: NDArray[np.object_], studies: NDArray[np.object_], k: int
) -> pd.DataFrame:
    """Return the value of every measure for each cell, and its `label` and `study`."""
    rows = normalize(np.ascontiguousarray(X, dtype=np.float32))
    cells, batches = np.arange(len(rows)), pd.factorize(studies)[0]
    with threads():
        ids = nearest(rows, rows, max(k, _GRAPH_NEIGHBOURS), apart=(cells, cells))[1]
        across = nearest(rows, rows, k, apart=(batches, batches))[1]
    by_label, by_batch = silhouettes(X, labels, studies)
    return pd.DataFrame(
        {
            "label": labels,
            "study": studies,
            "ontology_silhouette": ontology_silhouette(X, labels),
            "label_silhouette": (by_label + 1) / 2,
            "batch_silhouette": 1 - np.abs(by_batch),
            "graph_connectivity": connected(ids[:, :_GRAPH_NEIGHBOURS], labels).astype(np.float64),
            "knn_purity": purity(ids[:, :k], labels),
            "knn_purity_across": purity(across, labels, studies),
        }
    )


def summarise(scores: pd.DataFrame) -> dict[str, float]:
    """Return the means of :func:`cell_scores`, over the cells or over the labels."""
    by_cell = scores[["ontology_silhouette", "label_silhouette"]].mean()
    by_label = scores.groupby("label")[list(MEASURES[2:])].mean().mean()
    return {name: float((by_cell if name in by_cell else by_label)[name]) for name in MEASURES}


def purity(neighbours: NDArray[np.int64], labels: ArrayLike, studies: ArrayLike | None = None) -> NDArray[np.float64]:
    r"""Return the share of the neighbours of each cell that have its label.

    :math:`p_i = |\{j \in N_i : l_j \in D(l_i)\}| / |\{j \in N_i : l_j \notin A(l_i)\}|` with :math:`D` a label and its
    descendants in the Cell Ontology and :math:`A` its ancestors: a neighbour of a less specific label does not count.
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
    (n,), 0 to 1; NaN where no other cell has the label, or no neighbour counts.

    Examples
    --------
    >>> import numpy as np
    >>> from scim.training.evaluation import purity
    >>> purity(np.array([[1, 2], [0, 2], [1, 0]]), ["T cell", "T cell", "B cell"]).tolist()
    [1.0, 1.0, nan]
    """
    codes, names = pd.factorize(np.asarray(labels, dtype=object))
    includes = is_descendant(list(names), list(names))
    is_neighbour = (neighbours >= 0) & (np.arange(neighbours.shape[1]) < _n_alike(codes, includes, studies)[:, None])
    other = codes[np.where(is_neighbour, neighbours, 0)]
    right = is_neighbour & includes[codes[:, None], other]
    counted = right | (is_neighbour & ~includes[other, codes[:, None]])
    n = counted.sum(axis=1)
    return np.asarray(np.divide(right.sum(axis=1), n, out=np.full(len(codes), np.nan), where=n > 0))


def _n_alike(codes: NDArray[np.intp], includes: NDArray[np.bool_], studies: ArrayLike | None) -> NDArray[np.int64]:
    """Count the other cells, or those of other studies, that have the label of a cell or a descendant of it, (n,)."""
    weights = includes.astype(np.int64)
    total = weights @ np.bincount(codes, minlength=len(includes))
    if studies is None:
        return np.asarray(total[codes] - 1)
    study, names = pd.factorize(np.asarray(studies, dtype=object))
    cells = np.zeros((len(includes), len(names)), dtype=np.int64)
    np.add.at(cells, (codes, study), 1)
    return np.asarray(total[codes] - (weights @ cells)[codes, study])


def connected(neighbours: NDArray[np.int64], labels: ArrayLike) -> NDArray[np.bool_]:
    r"""Return which cells lie in the largest connected component of the graph of their label.

    The edges are those of the k nearest neighbours, undirected, between cells of the label. The mean over
    the labels of the share of such cells is the graph connectivity of scIB, :math:`\frac{1}{|C|} \sum_c
    |\mathrm{LCC}(G_c)| / |G_c|` :cite:p:`Luecken2022`.

    `neighbours` are (n, k) positions, -1 = none; labels are (n,).
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
    order = np.lexsort((-np.arange(len(sizes)), sizes))  # ascending; of equal sizes the first is last
    largest = np.zeros(len(names), dtype=np.int64)
    largest[label_of[order]] = order
    return np.asarray(largest[codes] == component)
