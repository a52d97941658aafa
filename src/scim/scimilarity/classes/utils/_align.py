"""Any genes to those of the model, by symbol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from scim._core.checks import check_adata, check_count
from scim._core.errors import GeneOverlapError
from scim.scimilarity.classes.utils._counts import COUNTS, as_csr, refuse_negative

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
        Cells, with gene symbols as `var_names`; it is left alone.
    target_gene_order
        Symbols of the model's genes, as `CellEmbedding.gene_order`. They are found by their very text;
        :func:`scim.tl.embed` knows Ensembl ids and previous symbols too.
    keep_obsm
        Whether to keep `obsm`.
    gene_overlap_threshold
        Least number of genes in common; half of the genes of a model that has fewer.

    Returns
    -------
    `data` itself if it is aligned, csr and complete; else a new AnnData with `X` and all layers as csr of the model's
    genes (those not measured are 0, an `X` of `None` is empty), `obs`, and `uns["orig_genes"]`, the genes it had.

    Raises
    ------
    GeneOverlapError
        Too few genes are in common.
    CountsError
        `X` or the counts have negative values.
    ValueError
        Several columns have the symbol of one gene; `consolidate_duplicate_symbols` sums them.
    """
    check_adata(data)
    check_count("gene_overlap_threshold", gene_overlap_threshold, least=0)
    genes = pd.Index([str(gene) for gene in target_gene_order])
    place = genes.get_indexer(data.var_names)
    _check_genes(data, place, len(genes), gene_overlap_threshold)
    found = {name: as_csr(layer) for name, layer in data.layers.items()}
    X = sparse.csr_matrix(data.shape, dtype=np.float32) if data.X is None else as_csr(data.X)
    refuse_negative(X, "X")
    if COUNTS in found:
        refuse_negative(found[COUNTS], "layers['counts']")
    if np.array_equal(place, np.arange(len(genes))) and data.n_vars == len(genes):
        unchanged = X is data.X and all(found[name] is layer for name, layer in data.layers.items())
        return data if unchanged else _with_matrices(data, X, found)
    out = anndata.AnnData(
        _aligned(X, place, len(genes)),
        obs=data.obs.copy(),
        var=pd.DataFrame(index=genes),
        layers={name: _aligned(layer, place, len(genes)) for name, layer in found.items()},
        obsm={name: data.obsm[name] for name in data.obsm} if keep_obsm else None,
    )
    out.uns["orig_genes"] = data.var_names.to_numpy(dtype=str)
    return out


def _check_genes(data: AnnData, place: NDArray[np.intp], n_genes: int, threshold: int) -> None:
    known = place[place >= 0]
    shared, repeated = np.unique(known, return_counts=True)
    if (repeated > 1).any():
        twice = data.var_names[place == shared[repeated > 1][0]][0]
        msg = (
            f"{int((repeated > 1).sum())} genes have several columns, as {twice!r}; "
            "call consolidate_duplicate_symbols(data) first, which sums them."
        )
        raise ValueError(msg)
    least = threshold if n_genes >= threshold else n_genes // 2
    if len(shared) < least:
        msg = (
            f"Only {len(shared)} genes in common with the model's {n_genes}, expected at least {least}. Expected gene "
            f"symbols as var_names, got names like {data.var_names[:3].tolist()}; convert_id2symbol() maps Ensembl ids."
        )
        raise GeneOverlapError(msg)


def _with_matrices(data: AnnData, X: Any, layers: dict[str, Any]) -> AnnData:
    """Return the same cells and genes with other matrices; nothing else is copied."""
    out = anndata.AnnData(X, obs=data.obs.copy(), var=data.var.copy(), layers=layers)
    for name in data.obsm:
        out.obsm[name] = data.obsm[name]
    out.uns.update(data.uns)
    return out


def _aligned(matrix: Any, place: NDArray[np.intp], n_genes: int) -> Any:
    """Return the columns that have a place, there."""
    columns = place.astype(np.int32)[matrix.indices]
    kept = columns >= 0
    indptr = np.append(0, np.cumsum(kept))[matrix.indptr]
    out = sparse.csr_matrix((matrix.data[kept], columns[kept], indptr), shape=(matrix.shape[0], n_genes))
    out.sort_indices()
    return out
