"""Genes by symbol: aligned to those of the model, named by symbol, one column a symbol."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from scim._core import CountsError, FormatError, GeneOverlapError, check_adata, check_count, error_text
from scim.io import local_path, open_file
from scim.io.cells import check_matrices
from scim.pp import canonical_genes, gene_symbols, genes_of
from scim.scimilarity._counts import COUNTS, as_csr, raw_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray


def align_dataset(
    data: AnnData, target_gene_order: Sequence[str], keep_obsm: bool = True, gene_overlap_threshold: int = 5000
) -> AnnData:
    """Bring the genes of a data set into the order of the model.

    Parameters
    ----------
    data
        Cells, with gene symbols as `var_names`; not changed. Columns that are no genes, as antibodies by
        `var["feature_types"]`, are left out. A negative value raises CountsError, several columns of one gene, which
        `consolidate_duplicate_symbols` sums, ValueError.
    target_gene_order
        Symbols of the model's genes, as `CellEmbedding.gene_order`. They are matched by their exact text;
        :func:`scim.tl.embed` matches Ensembl ids and previous symbols too.
    keep_obsm
        Whether to keep `obsm`.
    gene_overlap_threshold
        Least number of genes in common, half of the genes of a model that has fewer; else GeneOverlapError is raised.

    Returns
    -------
    `data` itself if it is aligned, csr and complete; else a new AnnData with `X` and all layers as csr of the model's
    genes (those not measured are 0, an `X` of `None` is empty), `obs`, and `uns["orig_genes"]`, the genes it had.
    """
    check_adata(data)
    check_matrices(data)
    check_count("gene_overlap_threshold", gene_overlap_threshold, least=0)
    genes = pd.Index([str(gene) for gene in target_gene_order])
    column = np.where(_are_genes(data), genes.get_indexer(data.var_names), -1)
    _check_genes(data, column, len(genes), gene_overlap_threshold)
    layers = {name: as_csr(layer) for name, layer in data.layers.items()}
    X = sparse.csr_matrix(data.shape, dtype=np.float32) if data.X is None else as_csr(data.X)
    _check_not_negative(X, "X")
    if COUNTS in layers:
        _check_not_negative(layers[COUNTS], "layers['counts']")
    if np.array_equal(column, np.arange(len(genes))):
        if X is data.X and all(layers[name] is layer for name, layer in data.layers.items()):
            return data
        kept = {"layers": layers, "obsm": dict(data.obsm), "uns": dict(data.uns)}
        return anndata.AnnData(X, obs=data.obs.copy(), var=data.var.copy(), **kept)
    out = anndata.AnnData(
        _select_columns(X, column, len(genes)),
        obs=data.obs.copy(),
        var=pd.DataFrame(index=genes),
        layers={name: _select_columns(layer, column, len(genes)) for name, layer in layers.items()},
        obsm=dict(data.obsm) if keep_obsm else None,
    )
    out.uns["orig_genes"] = data.var_names.to_numpy(dtype=str)
    return out


def convert_id2symbol(adata: AnnData, mapping_table: str | os.PathLike[str] | None = None) -> AnnData:
    """Name genes by symbol instead of by Ensembl id.

    Parameters
    ----------
    adata
        Cells; not changed. If no name of a gene is in the table, `var["symbol"]` is taken as the names.
    mapping_table
        A tab-separated file of Ensembl with the columns "Gene stable ID" (the first) and "Gene name".
        Default: the table of genes in scim, which also has versions, retired ids and previous symbols.

    Returns
    -------
    A new AnnData, of the genes in the table, by id or by symbol, without other columns. If there is none, or
    the file has no such columns, ValueError is raised.
    """
    check_adata(adata)
    check_matrices(adata)
    names = adata.var_names.to_series().str.replace("['\"]", "", regex=True)
    symbols = _find_symbols(names, mapping_table)
    if symbols.isna().all() and "symbol" in adata.var:
        symbols = _find_symbols(adata.var["symbol"].astype(str), mapping_table)
    symbols = symbols.where(_are_genes(adata))
    if symbols.isna().all():
        msg = f"The table has none of the genes; expected Ensembl ids, got names like {adata.var_names[:3].tolist()}."
        raise ValueError(msg)
    out = adata[:, symbols.notna().to_numpy()].copy()
    out.var_names = pd.Index(symbols.dropna().to_numpy(dtype=str), name="symbol")
    return out


def consolidate_duplicate_symbols(adata: AnnData) -> AnnData:
    """Sum the counts of columns that have the same symbol.

    Parameters
    ----------
    adata
        Cells with raw counts in `layers["counts"]`; not changed.

    Returns
    -------
    `adata` itself if every symbol has one column; else a new AnnData without columns that are no genes: genes of one
    column first, then, sorted, the others, with `layers["counts"]` summed and `X` 0 for these until `lognorm_counts`
    writes it.
    """
    raw_counts(adata)
    if adata.var_names.has_duplicates and not (are_genes := _are_genes(adata)).all():
        adata = adata[:, are_genes].copy()
    counts = as_csr(raw_counts(adata))
    repeated = adata.var_names.duplicated(keep=False)
    if not repeated.any():
        return adata
    symbols = sorted(set(adata.var_names[repeated]))
    unique = np.flatnonzero(~repeated)
    group = pd.Index(symbols).get_indexer(adata.var_names[repeated])
    ones = np.ones(len(group), dtype=counts.dtype)
    adding = sparse.csr_matrix((ones, (np.flatnonzero(repeated), group)), shape=(adata.n_vars, len(symbols)))
    X = sparse.csr_matrix(adata.shape, dtype=np.float32) if adata.X is None else as_csr(adata.X)
    zeros = sparse.csr_matrix((adata.n_obs, len(symbols)), dtype=X.dtype)
    return anndata.AnnData(
        sparse.hstack([X[:, unique], zeros], format="csr"),
        obs=adata.obs.copy(),
        var=pd.DataFrame(index=pd.Index([*adata.var_names[unique], *symbols])),
        layers={COUNTS: sparse.hstack([counts[:, unique], counts @ adding], format="csr")},
        obsm=dict(adata.obsm),
    )


def _are_genes(data: AnnData) -> NDArray[np.bool_]:
    """Return which columns are genes, (n_vars,)."""
    return np.asarray(genes_of(data.var) != "")


def _check_genes(data: AnnData, column: NDArray[np.intp], n_genes: int, threshold: int) -> None:
    shared, n_columns = np.unique(column[column >= 0], return_counts=True)
    if (n_columns > 1).any():
        example = data.var_names[column == shared[n_columns > 1][0]][0]
        msg = f"{int((n_columns > 1).sum())} genes have several columns, as {example!r}; "
        msg += "call consolidate_duplicate_symbols(data) first, which sums them."
        raise ValueError(msg)
    least = threshold if n_genes >= threshold else n_genes // 2
    if len(shared) < least:
        msg = f"Only {len(shared)} genes in common with the model's {n_genes}, expected at least {least}. Expected "
        msg += f"symbols as var_names, got {data.var_names[:3].tolist()}; convert_id2symbol() maps Ensembl ids."
        raise GeneOverlapError(msg)


def _check_not_negative(matrix: Any, where: str) -> None:
    lowest = matrix.data.min(initial=0)
    if lowest < 0:
        msg = f"{where} has negative values (lowest {lowest:.3g}); expected counts or log-normalised values."
        raise CountsError(msg)


def _select_columns(matrix: Any, column: NDArray[np.intp], n_genes: int) -> Any:
    """Return a csr matrix of `n_genes` columns; `column` is the new one of each, -1 = dropped."""
    columns = column.astype(np.int32)[matrix.indices]
    kept = columns >= 0
    indptr = np.append(0, np.cumsum(kept))[matrix.indptr]
    out = sparse.csr_matrix((matrix.data[kept], columns[kept], indptr), shape=(matrix.shape[0], n_genes))
    out.sort_indices()
    return out


def _find_symbols(names: pd.Series[str], table: str | os.PathLike[str] | None) -> pd.Series[str]:
    """Return the symbol of each name, missing if it is not in the table."""
    if table is None:
        ids = canonical_genes(names.tolist())
        symbols = [
            symbol if gene.startswith("ENSG") and symbol != gene else None  # a gene without a symbol keeps its id
            for gene, symbol in zip(ids, gene_symbols(ids), strict=True)
        ]
        return pd.Series(symbols, index=names.index, dtype=object)
    try:
        with open_file(local_path(table, what="a table of genes"), links=True) as file:
            frame = pd.read_csv(file, sep="\t", dtype=str)
    except (ValueError, pd.errors.ParserError) as error:  # no text, or no table
        if isinstance(error, FormatError):
            raise
        msg = f"{os.fspath(table)!r} is not a tab-separated table of genes ({error_text(error)})."
        raise FormatError(msg) from error
    absent = sorted({"Gene stable ID", "Gene name"} - set(frame.columns))
    if absent:
        msg = f"{str(table)!r} has no column {absent}. Present: {list(frame.columns)}."
        raise ValueError(msg)
    by_id = frame.drop_duplicates("Gene stable ID").set_index("Gene stable ID")["Gene name"].dropna()
    symbols_alone = by_id.drop_duplicates().to_numpy()
    known = pd.concat([by_id, pd.Series(symbols_alone, index=symbols_alone)])
    return names.map(known[~known.index.duplicated()])
