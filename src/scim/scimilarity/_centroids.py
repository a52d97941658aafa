"""Groups of cells as one cell with all their counts: centroids and pseudobulk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.spatial.distance import cdist

from scim._core import check_count, check_names, check_obs_key, logger, refuse_absent
from scim._core.cosine import EQUAL, is_directed
from scim._core.kernel_cache import cache_folder
from scim.io.cells import check_sparse, dense
from scim.scimilarity._counts import COUNTS, qc_metrics, raw_counts
from scim.scimilarity._genes import align_dataset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

_FILTERS = ("mito_percent", "min_counts", "min_genes", "max_nn_dist", "max_nn_dist_col")


def get_centroid(counts: sparse.csr_matrix[Any] | NDArray[Any]) -> NDArray[np.float64]:
    r"""Return :math:`\log(1 + 10^4 \sum x / \sum\sum x)` of the cells of a matrix of raw counts.

    Parameters
    ----------
    counts
        (n, n_genes), sparse or dense. Without any count there is no centroid, which raises ValueError.

    Returns
    -------
    float64, shape (1, n_genes).
    """
    if sparse.issparse(counts):
        check_sparse(counts, "The counts")
    sums = np.asarray(counts.sum(axis=0), dtype=np.float64).reshape(1, -1)
    total = sums.sum()
    if not total > 0:
        msg = f"Expected cells with counts, got {counts.shape[0]} cells with {total:g} counts in all: no centroid."
        raise ValueError(msg)
    return np.asarray(np.log1p(1e4 * sums / total), dtype=np.float64)


def get_dist2centroid(centroid_embedding: ArrayLike, X: Any) -> NDArray[np.float64]:
    """Return the cosine distance of each row of `X` to a centroid, (n,): 0 below 1e-6; NaN for a row of zeros.

    Parameters
    ----------
    centroid_embedding
        (dim,) or (1, dim).
    X
        (n, dim) embeddings, or log-normalised values if the centroid has these; sparse or dense.
    """
    rows = dense(X, "X")
    distances = cdist(np.asarray(centroid_embedding).reshape(1, -1), rows, metric="cosine").ravel()
    return np.where(distances < EQUAL, 0.0, distances)


def get_cluster_centroids(
    data: AnnData,
    target_gene_order: Sequence[str],
    cluster_key: str,
    cluster_label: str | None = None,
    skip_null: bool = True,
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the centroid of each cluster, as of :func:`get_centroid`, over the model's genes.

    Parameters
    ----------
    data
        Cells with raw counts in `layers["counts"]`; genes are aligned as by :func:`align_dataset`.
    target_gene_order
        Symbols of the model's genes.
    cluster_key, cluster_label
        Column of obs with the clusters, and one of them. Default: all. A column that does not exist raises KeyError, a
        cluster that does not exist ValueError.
    skip_null
        Whether to leave out cells without a cluster; else they are one, `"nan"`.

    Returns
    -------
    centroids
        float64, shape (n_clusters, n_genes); zeros for a cluster without counts, which a search finds nothing for.
    cluster_idx
        The clusters as text, sorted.
    """
    raw_counts(data)
    check_obs_key(data, cluster_key)
    counts = align_dataset(data, target_gene_order).layers[COUNTS]
    column = data.obs[cluster_key]
    labels = column.astype(object).where(column.notna(), "nan").astype(str).to_numpy()
    inside = column.notna().to_numpy() if skip_null else np.ones(len(labels), dtype=np.bool_)
    present = sorted(set(labels[inside]))
    wanted = present if cluster_label is None else [str(cluster_label)]
    if not wanted or not set(wanted) <= set(present):
        msg = f"obs[{cluster_key!r}] has no cluster {cluster_label!r}. Present: {present}."
        raise ValueError(msg)
    centroids = np.zeros((len(wanted), len(target_gene_order)))
    for row, label in enumerate(wanted):
        members = counts[inside & (labels == label)]
        if members.sum() > 0:
            centroids[row] = get_centroid(members)[0]
    if n_empty := int((~is_directed(centroids)).sum()):
        logger.info("%d of %d clusters have no counts: nothing is found for them", n_empty, len(wanted))
    return centroids, wanted


def marked_cells(adata: AnnData, key: str, gene_order: Sequence[str]) -> AnnData:
    """Return a view of the cells for which a column of obs is 1."""
    raw_counts(adata)
    check_obs_key(adata, key)
    marked = (adata.obs[key] == 1).fillna(value=False).to_numpy(dtype=bool)
    if not marked.any():
        msg = f"obs[{key!r}] is 1 for no cell; expected 1 (or True) for the cells of the query and 0 for others."
        raise ValueError(msg)
    if adata.var_names.tolist() != list(gene_order):
        n_genes = len(gene_order)
        msg = f"Expected the model's {n_genes} genes in their order; call align_dataset(adata, cq.gene_order) first."
        raise ValueError(msg)
    return adata[marked]


def pseudobulk_anndata(
    adata: AnnData,
    groupby_labels: str | Sequence[str],
    qc_filters: Mapping[str, Any] | None = None,
    min_num_cells: int = 1,
    only_orig_genes: bool = False,
) -> AnnData:
    """Sum the counts of cells that have the same values in columns of obs.

    Parameters
    ----------
    adata
        Cells with raw counts in `layers["counts"]`; not changed.
    groupby_labels
        Columns of obs; one that does not exist raises KeyError.
    qc_filters
        Which cells to take: `"mito_percent"` (at most), `"min_counts"`, `"min_genes"` (at least), `"max_nn_dist"` (at
        most, .03 by default) in the column `"max_nn_dist_col"` (`"nn_dist"` by default), if there is one. Default: all
        cells. Filters that leave no cell raise ValueError.
    min_num_cells
        Groups of fewer cells are left out.
    only_orig_genes
        Whether genes that are not in `uns["orig_genes"]`, the measured genes by :func:`align_dataset`, are NaN.

    Returns
    -------
    A new AnnData with a row for each group that occurs: `obs` with the columns and `cells`, the number of its cells;
    `layers["sum"]` and `layers["count_nonzero"]`, the number of cells in which a gene was seen.
    """
    with cache_folder():
        import scanpy as sc  # noqa: PLC0415  (seconds to load, and rarely used)

    raw_counts(adata)
    check_count("min_num_cells", min_num_cells)
    labels = check_names("groupby_labels", groupby_labels)
    refuse_absent(labels, list(adata.obs.columns))
    if qc_filters is not None:
        adata = adata[_passing(adata, qc_filters)]
    if not adata.n_obs:
        msg = f"No cell passes qc_filters={qc_filters!r}; expected filters that leave some."
        raise ValueError(msg)
    size = adata.obs.groupby(labels, observed=True).size().reset_index(name="cells")
    bulk = sc.get.aggregate(adata, by=labels, func=["sum", "count_nonzero"], layer=COUNTS)
    bulk.obs = pd.merge(bulk.obs.reset_index(drop=True)[labels], size, on=labels).set_index(bulk.obs_names)
    bulk = bulk[bulk.obs["cells"].to_numpy() >= min_num_cells].copy()
    measured = adata.var_names.isin(adata.uns["orig_genes"]) if only_orig_genes and "orig_genes" in adata.uns else None
    for name, layer in list(bulk.layers.items()):
        values = layer.toarray() if hasattr(layer, "toarray") else np.asarray(layer)
        bulk.layers[name] = values if measured is None else np.where(measured, values.astype(np.float64), np.nan)
    return bulk


def _passing(adata: AnnData, filters: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return which cells pass the filters of :func:`pseudobulk_anndata`."""
    unknown = sorted(set(filters) - set(_FILTERS))
    if unknown:
        msg = f"qc_filters has no {unknown}; it takes {list(_FILTERS)}."
        raise KeyError(msg)
    obs, _ = qc_metrics(adata)
    passes: pd.Series[bool] = obs["pct_counts_mt"] <= filters.get("mito_percent", 100.0)
    for name, column in (("min_counts", "total_counts"), ("min_genes", "n_genes_by_counts")):
        if filters.get(name) is not None:
            passes &= obs[column] >= filters[name]
    column = filters.get("max_nn_dist_col", "nn_dist")
    if column in adata.obs:
        passes &= adata.obs[column] <= filters.get("max_nn_dist", 0.03)
    return passes.to_numpy(dtype=np.bool_)
