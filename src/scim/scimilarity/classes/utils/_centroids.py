"""Groups of cells as one cell that has all their counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist

from scim._core.checks import check_obs_key
from scim.scimilarity.classes.utils._align import align_dataset
from scim.scimilarity.classes.utils._counts import raw_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray
    from scipy import sparse


def get_centroid(counts: sparse.csr_matrix[Any] | NDArray[Any]) -> NDArray[np.float64]:
    r"""Return :math:`\log(1 + 10^4 \sum x / \sum\sum x)` of the cells of a matrix of raw counts.

    Parameters
    ----------
    counts
        (n, n_genes), sparse or dense.

    Returns
    -------
    float64, shape (1, n_genes).

    Raises
    ------
    ValueError
        There is no cell, or none has a count.
    """
    sums = np.asarray(counts.sum(axis=0), dtype=np.float64).reshape(1, -1)
    total = sums.sum()
    if not total > 0:
        msg = f"Expected cells with counts, got {counts.shape[0]} cells with {total:g} counts in all: no centroid."
        raise ValueError(msg)
    centroid: NDArray[np.float64] = np.log1p(1e4 * sums / total)
    return centroid


def get_dist2centroid(centroid_embedding: ArrayLike, X: Any) -> NDArray[np.float64]:
    """Return the cosine distance of each row of `X` to a centroid, (n,).

    Parameters
    ----------
    centroid_embedding
        (dim,) or (1, dim).
    X
        (n, dim) embeddings, or log-normalised values if the centroid is one of those; sparse or dense.
    """
    rows = X.toarray() if hasattr(X, "toarray") else np.asarray(X)
    return cdist(np.asarray(centroid_embedding).reshape(1, -1), rows, metric="cosine").ravel()


def get_cluster_centroids(
    data: AnnData,
    target_gene_order: Sequence[str],
    cluster_key: str,
    cluster_label: str | None = None,
    skip_null: bool = True,
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the centroid of each cluster, as :func:`get_centroid` makes it, over the model's genes.

    Parameters
    ----------
    data
        Cells with raw counts in `layers["counts"]`; genes are aligned as :func:`align_dataset` does.
    target_gene_order
        Symbols of the model's genes.
    cluster_key
        Column of obs with the clusters.
    cluster_label
        One cluster. Default: all.
    skip_null
        Whether to leave out cells without a cluster; else they are one, `"nan"`.

    Returns
    -------
    centroids
        float64, shape (n_clusters, n_genes).
    cluster_idx
        The clusters as text, sorted.

    Raises
    ------
    KeyError
        There is no such column.
    ValueError
        There are no counts, or no cluster of that label.
    """
    raw_counts(data)
    check_obs_key(data, cluster_key)
    counts = align_dataset(data, target_gene_order).layers["counts"]
    column = data.obs[cluster_key]
    labels = column.astype(object).where(column.notna(), "nan").astype(str).to_numpy()
    inside = column.notna().to_numpy() if skip_null else np.ones(len(labels), dtype=np.bool_)
    present = sorted(set(labels[inside]))
    wanted = present if cluster_label is None else [str(cluster_label)]
    if not wanted or not set(wanted) <= set(present):
        msg = f"obs[{cluster_key!r}] has no cluster {cluster_label!r}. Present: {present}."
        raise ValueError(msg)
    rows = [get_centroid(counts[inside & (labels == label)]) for label in wanted]
    return np.vstack(rows), wanted
