"""Names of genes: ids to symbols, and columns of one symbol to one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from scim._core.checks import check_adata
from scim.pp import canonical_genes, gene_symbols
from scim.scimilarity.classes.utils._counts import COUNTS, as_csr, raw_counts

if TYPE_CHECKING:
    import os

    from anndata import AnnData


def convert_id2symbol(adata: AnnData, mapping_table: str | os.PathLike[str] | None = None) -> AnnData:
    """Name genes by symbol instead of by Ensembl id.

    Parameters
    ----------
    adata
        Cells; they are left alone. If no name of a gene is in the table, `var["symbol"]` is taken as the names.
    mapping_table
        A tab-separated file of Ensembl with the columns "Gene stable ID" (the first) and "Gene name".
        Default: the table of genes that comes with scim, which knows versions, retired ids and previous symbols too.

    Returns
    -------
    A new AnnData, of the genes that the table knows, by id or by symbol.

    Raises
    ------
    ValueError
        The file has no such columns, or knows none of the genes.
    """
    check_adata(adata)
    names = adata.var_names.to_series().str.replace("['\"]", "", regex=True)
    symbols = _symbols(names, mapping_table)
    if symbols.isna().all() and "symbol" in adata.var:
        symbols = _symbols(adata.var["symbol"].astype(str), mapping_table)
    if symbols.isna().all():
        msg = f"The table knows none of the genes; expected Ensembl ids, got names like {adata.var_names[:3].tolist()}."
        raise ValueError(msg)
    out = adata[:, symbols.notna().to_numpy()].copy()
    out.var_names = pd.Index(symbols.dropna().to_numpy(dtype=str), name="symbol")
    return out


def _symbols(names: pd.Series[str], table: str | os.PathLike[str] | None) -> pd.Series[str]:
    """Return the symbol of each name, missing if the table does not know it."""
    if table is None:
        ids = canonical_genes(names.tolist())
        known = [
            symbol if gene.startswith("ENSG") and symbol != gene else None  # a gene without a symbol stands for itself
            for gene, symbol in zip(ids, gene_symbols(ids), strict=True)
        ]
        return pd.Series(known, index=names.index, dtype=object)
    frame = pd.read_csv(table, sep="\t", dtype=str)
    absent = sorted({"Gene stable ID", "Gene name"} - set(frame.columns))
    if absent:
        msg = f"{str(table)!r} has no column {absent}. Present: {list(frame.columns)}."
        raise ValueError(msg)
    pairs = frame.drop_duplicates("Gene stable ID").set_index("Gene stable ID")["Gene name"].dropna()
    own = pairs.drop_duplicates()
    known = pd.concat([pairs, pd.Series(own.to_numpy(), index=own.to_numpy())])
    return names.map(known[~known.index.duplicated()])


def consolidate_duplicate_symbols(adata: AnnData) -> AnnData:
    """Sum the counts of columns that have the same symbol.

    Parameters
    ----------
    adata
        Cells with raw counts in `layers["counts"]`; they are left alone.

    Returns
    -------
    `adata` itself if every symbol has one column; else a new AnnData: genes of one column first, then, sorted, the
    others, with `layers["counts"]` summed and `X` 0 for these until `lognorm_counts` writes it.

    Raises
    ------
    ValueError
        There is no layer of counts.
    """
    counts = as_csr(raw_counts(adata))
    repeated = adata.var_names.duplicated(keep=False)
    if not repeated.any():
        return adata
    symbols = sorted(set(adata.var_names[repeated]))
    one = np.flatnonzero(~repeated)
    group = pd.Index(symbols).get_indexer(adata.var_names[repeated])
    ones = np.ones(len(group), dtype=counts.dtype)
    adding = sparse.csr_matrix((ones, (np.flatnonzero(repeated), group)), shape=(adata.n_vars, len(symbols)))
    X = sparse.csr_matrix(adata.shape, dtype=np.float32) if adata.X is None else as_csr(adata.X)
    nothing = sparse.csr_matrix((adata.n_obs, len(symbols)), dtype=X.dtype)
    out = anndata.AnnData(
        sparse.hstack([X[:, one], nothing], format="csr"),
        obs=adata.obs.copy(),
        var=pd.DataFrame(index=pd.Index([*adata.var_names[one], *symbols])),
        layers={COUNTS: sparse.hstack([counts[:, one], counts @ adding], format="csr")},
    )
    for name in adata.obsm:
        out.obsm[name] = adata.obsm[name]
    return out
