"""Return the genes of `tl.novel`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scim._core import check_adata, check_text, keys

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def novel(adata: AnnData, *, key: str = keys.NOVEL) -> pd.DataFrame:
    """Return the genes that set clusters of novel cells apart from the nearest label of the atlas.

    Parameters
    ----------
    adata, key
        Cells for which :func:`scim.tl.novel` was run, and its `key_added`.

    Returns
    -------
    Frame with a row for each cluster and gene, the largest cluster and the largest log fold change first:

    `cluster` : str
        Name of the cluster, as in `adata.obs[key]`.
    `n_cells` : int64
        Its number of cells.
    `nearest_label` : str
        The label of the atlas with the largest mean share of the vote.
    `gene` : str
        Name of the gene, as in `adata.var_names`.
    `log_fold_change` : float32
        Of the mean log-normalised expression, natural logarithm, against the nearest label.
    `share` : float32
        Share of the cells of the cluster that express the gene, 0 to 1.

    Raises
    ------
    KeyError
        `tl.novel` wrote nothing under this name.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata, where="tissue == 'pancreas'")
    >>> scim.tl.novel(adata, groupby="cell_type")
    >>> scim.get.novel(adata).groupby("cluster")["gene"].first().index.name
    'cluster'
    """
    check_adata(adata)
    check_text(key=key)
    record = adata.uns.get(key)
    if not isinstance(record, dict) or not {"clusters", "genes"} <= set(record):
        remedy = f"run scim.tl.novel(adata) first. Present: {sorted(adata.uns)}."
        msg = f"uns[{key!r}] holds no clusters of novel cells; {remedy}"
        raise KeyError(msg)
    clusters = record["clusters"][["cluster", "n_cells", "nearest_label"]]
    table: pd.DataFrame = clusters.merge(record["genes"], on="cluster", how="inner")
    return table.astype(dict.fromkeys(("cluster", "nearest_label", "gene"), object))
