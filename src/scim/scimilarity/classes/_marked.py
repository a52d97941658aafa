"""The cells of a query, as they are marked in obs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scim._core.checks import check_obs_key
from scim.scimilarity.classes.utils._counts import raw_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def marked_cells(adata: AnnData, key: str, gene_order: Sequence[str]) -> AnnData:
    """Return a view of the cells for which a column of obs is 1.

    Raises
    ------
    KeyError
        There is no such column.
    ValueError
        It is 1 for no cell, there are no counts, or the genes are not those of the model in their order.
    """
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
