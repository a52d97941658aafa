"""Raw counts in `layers["counts"]`: log-normalised, and cells filtered by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scim._core import check_adata, check_count, check_range, warn
from scim._core.kernel_cache import cache_folder
from scim.io.cells import check_matrices
from scim.pp import lognorm

if TYPE_CHECKING:
    from anndata import AnnData

COUNTS = "counts"


def raw_counts(data: AnnData) -> Any:
    """Return `layers["counts"]`."""
    check_adata(data)
    check_matrices(data)
    if COUNTS not in data.layers:
        msg = f"layers['counts'] not found; keep the raw counts there. Present: {list(data.layers)}."
        raise ValueError(msg)
    return data.layers[COUNTS]


def as_csr(matrix: Any) -> Any:
    """Return a matrix as csr of the same dtype; a csr matrix as it is."""
    return matrix if isinstance(matrix, sparse.csr_matrix) else sparse.csr_matrix(matrix)


def lognorm_counts(data: AnnData) -> AnnData:
    r"""Write :math:`\log(1 + 10^4 x / \sum x)` of `layers["counts"]` into `X`.

    Parameters
    ----------
    data
        Cells with raw counts in `layers["counts"]`, aligned to the model's genes: the sum is over these.
        They are changed in place, as by the package.

    Returns
    -------
    `data`, with `X` as csr of float32. Cells without counts stay zero; NaN count as 0, with a warning.
    """
    X: Any = sparse.csr_matrix(raw_counts(data), dtype=np.float32)
    nan = np.isnan(X.data)
    if nan.any():
        warn(f"{int(nan.sum())} values of layers['counts'] are NaN and count as 0.")
        X.data = np.where(nan, np.float32(0), X.data)
    data.X = lognorm(X)
    return data


def filter_cells(
    data: AnnData, min_genes: int = 400, mito_prefix: str | None = None, mito_percent: float = 30.0
) -> AnnData:
    """Keep cells with enough genes, and less than a share of mitochondrial counts, as `layers["counts"]` has them.

    Parameters
    ----------
    data
        Cells with raw counts in `layers["counts"]`; not changed.
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
    """Return scanpy's measures of cells and of genes, with the column `mt` of mitochondrial genes."""
    with cache_folder():
        import scanpy as sc  # noqa: PLC0415  (seconds to load, and rarely used)
    from anndata import AnnData  # noqa: PLC0415  (as above)

    if not mito_prefix:
        mito_prefix = "mt-" if data.var_names.str.startswith("mt-").any() else "MT-"
    mito = pd.DataFrame({"mt": data.var_names.str.startswith(mito_prefix)}, index=data.var_names)
    bare = AnnData(obs=pd.DataFrame(index=data.obs_names), var=mito, layers={COUNTS: data.layers[COUNTS]})
    obs, var = sc.pp.calculate_qc_metrics(bare, qc_vars=["mt"], percent_top=None, log1p=False, layer=COUNTS)
    return obs, mito.join(var)
