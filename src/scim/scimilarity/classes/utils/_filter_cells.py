"""Cells with few genes or many mitochondrial counts are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scim._core.checks import check_count, check_range
from scim.scimilarity.classes.utils._counts import COUNTS, raw_counts

if TYPE_CHECKING:
    from anndata import AnnData


def filter_cells(
    data: AnnData, min_genes: int = 400, mito_prefix: str | None = None, mito_percent: float = 30.0
) -> AnnData:
    """Keep cells with enough genes, and less than a share of mitochondrial counts, as `layers["counts"]` has them.

    Parameters
    ----------
    data
        Cells with raw counts in `layers["counts"]`; they are left alone.
    min_genes
        Least number of genes with a count.
    mito_prefix
        How names of mitochondrial genes start. Default: `"mt-"` if some do, else `"MT-"`.
    mito_percent
        Cells with this percentage of mitochondrial counts, or more, are left out; so are cells without counts.

    Returns
    -------
    A copy of the cells kept. Like scanpy's `calculate_qc_metrics` it has `obs["n_genes_by_counts"]`,
    `["total_counts"]`, `["total_counts_mt"]`, `["pct_counts_mt"]`, `var["mt"]`, and measures of genes in `var`.

    Raises
    ------
    ValueError
        There is no layer of counts.
    """
    raw_counts(data)
    check_count("min_genes", min_genes, least=0)
    check_range("mito_percent", mito_percent, 100.0)
    obs, var = qc_metrics(data, mito_prefix)
    kept = ((obs["pct_counts_mt"] < mito_percent) & (obs["n_genes_by_counts"] >= min_genes)).to_numpy()
    out = data[kept].copy()
    for column in obs:
        out.obs[column] = obs[column].to_numpy()[kept]
    for column in var:
        out.var[column] = var[column].to_numpy()
    return out


def qc_metrics(data: AnnData, mito_prefix: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return scanpy's measures of cells and of genes, with `var["mt"]`; nothing is written."""
    import scanpy as sc  # noqa: PLC0415  (seconds to load, and few ask for it)
    from anndata import AnnData  # noqa: PLC0415  (as above)

    if not mito_prefix:
        mito_prefix = "mt-" if data.var_names.str.startswith("mt-").any() else "MT-"
    mito = pd.DataFrame({"mt": data.var_names.str.startswith(mito_prefix)}, index=data.var_names)
    bare = AnnData(obs=pd.DataFrame(index=data.obs_names), var=mito, layers={COUNTS: data.layers[COUNTS]})
    obs, var = sc.pp.calculate_qc_metrics(bare, qc_vars=["mt"], percent_top=None, log1p=False, layer=COUNTS)
    return obs, mito.join(var)
