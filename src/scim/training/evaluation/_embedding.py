"""Measures of an embedding: silhouettes, purity, connectivity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core.checks import check_count
from scim.ontology import standardize
from scim.training.evaluation._neighbourhood import connected, purity
from scim.training.evaluation._neighbours import nearest
from scim.training.evaluation._silhouette import ontology_silhouette, silhouettes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MAX_CELLS = 10_000
"""Cells that are measured by default: a hundred million pairs, some seconds."""

GRAPH_NEIGHBOURS = 15
"""Neighbours of the graph whose connectivity is measured, as scIB and scanpy have it."""

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
        Embeddings (n, dim).
    labels
        (n,) Cell Ontology ids or names, or free words; cells where it is missing are left out.
    studies
        (n,) of each cell.
    k
        Number of neighbours.
    max_cells
        Of more cells, so many are drawn at random and measured among each other. Memory does not depend on it beyond
        some hundred bytes a cell; time grows with its square.
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
    words, batches = standardize(labels), np.asarray(studies, dtype=object)
    if not len(X) == len(words) == len(batches):
        msg = (
            f"Embeddings, labels and studies must be as long as each other, got {len(X)}, {len(words)}, {len(batches)}."
        )
        raise ValueError(msg)
    some = draw(np.flatnonzero(pd.notna(words)), max_cells, np.random.default_rng(rng))
    if not some.size:
        msg = "No cell has a label; expected at least one that is not missing."
        raise ValueError(msg)
    return summarise(cell_values(np.asarray(X)[some], words[some], batches[some], k))


def draw(cells: NDArray[np.int64], most: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return at most so many of some cells, in order."""
    return cells if len(cells) <= most else np.sort(random.choice(cells, most, replace=False))


def cell_values(
    X: NDArray[np.floating[Any]], labels: NDArray[np.object_], studies: NDArray[np.object_], k: int
) -> pd.DataFrame:
    """Return what each cell adds to the measures, one column a measure, and its `label` and `study`."""
    rows = np.ascontiguousarray(X, dtype=np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    everyone, batches = np.arange(len(rows)), pd.factorize(studies)[0]
    ids = nearest(rows, rows, max(k, GRAPH_NEIGHBOURS), apart=(everyone, everyone))[1]
    across = nearest(rows, rows, k, apart=(batches, batches))[1]
    by_label, by_batch = silhouettes(X, labels, studies)
    return pd.DataFrame(
        {
            "label": labels,
            "study": studies,
            "ontology_silhouette": ontology_silhouette(X, labels),
            "label_silhouette": (by_label + 1) / 2,
            "batch_silhouette": 1 - np.abs(by_batch),
            "graph_connectivity": connected(ids[:, :GRAPH_NEIGHBOURS], labels).astype(np.float64),
            "knn_purity": purity(ids[:, :k], labels),
            "knn_purity_across": purity(across, labels, studies),
        }
    )


def summarise(values: pd.DataFrame) -> dict[str, float]:
    """Take the means of :func:`cell_values`, over the cells or over the labels."""
    by_cell = values[["ontology_silhouette", "label_silhouette"]].mean()
    by_label = values.groupby("label")[list(MEASURES[2:])].mean().mean()
    return {name: float((by_cell if name in by_cell else by_label)[name]) for name in MEASURES}
