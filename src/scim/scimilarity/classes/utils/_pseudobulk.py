"""Groups of cells to their summed counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core.checks import check_count, check_names, refuse_absent
from scim.scimilarity.classes.utils._counts import COUNTS, raw_counts
from scim.scimilarity.classes.utils._filter_cells import qc_metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

_FILTERS = ("mito_percent", "min_counts", "min_genes", "max_nn_dist", "max_nn_dist_col")


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
        Cells with raw counts in `layers["counts"]`; they are left alone.
    groupby_labels
        Columns of obs.
    qc_filters
        Which cells to take: `"mito_percent"` (at most), `"min_counts"`, `"min_genes"` (at least), `"max_nn_dist"` (at
        most, .03 by default) in the column `"max_nn_dist_col"` (`"nn_dist"` by default), if there is one.
        Default: all cells.
    min_num_cells
        Groups of fewer cells are left out.
    only_orig_genes
        Whether genes that are not in `uns["orig_genes"]`, where :func:`align_dataset` noted which were measured, are
        NaN.

    Returns
    -------
    A new AnnData with a row for each group that occurs: `obs` with the columns and `cells`, the number of its cells;
    `layers["sum"]` and `layers["count_nonzero"]`, in how many cells a gene was seen.

    Raises
    ------
    KeyError
        There is no such column, or no such filter.
    ValueError
        There are no counts, or no cell is left.
    """
    import scanpy as sc  # noqa: PLC0415  (seconds to load, and few ask for it)

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
    for name in list(bulk.layers):
        layer = bulk.layers[name]
        bulk.layers[name] = layer.toarray() if hasattr(layer, "toarray") else np.asarray(layer)
    if only_orig_genes and "orig_genes" in adata.uns:
        unmeasured = ~adata.var_names.isin(adata.uns["orig_genes"])
        for name in ("sum", "count_nonzero"):
            values = bulk.layers[name].astype(np.float64)
            values[:, unmeasured] = np.nan
            bulk.layers[name] = values
    return bulk


def _passing(adata: AnnData, filters: Mapping[str, Any]) -> NDArray[np.bool_]:
    unknown = sorted(set(filters) - set(_FILTERS))
    if unknown:
        msg = f"qc_filters has no {unknown}; it takes {list(_FILTERS)}."
        raise KeyError(msg)
    obs, _ = qc_metrics(adata)
    passes = (obs["pct_counts_mt"] <= filters.get("mito_percent", 100.0)).to_numpy()
    for name, column in (("min_counts", "total_counts"), ("min_genes", "n_genes_by_counts")):
        if filters.get(name) is not None:
            passes &= (obs[column] >= filters[name]).to_numpy()
    column = filters.get("max_nn_dist_col", "nn_dist")
    if column in adata.obs:
        passes &= (adata.obs[column] <= filters.get("max_nn_dist", 0.03)).to_numpy()
    out: NDArray[np.bool_] = passes
    return out
