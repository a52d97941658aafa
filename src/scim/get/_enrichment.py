"""Return the table of `tl.enrichment`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scim._core import check_adata, check_text, keys

if TYPE_CHECKING:
    from anndata import AnnData


def enrichment(adata: AnnData, *, key: str = keys.ENRICHMENT) -> pd.DataFrame:
    """Return in which values of a column the hits of a search are more frequent than elsewhere.

    Parameters
    ----------
    adata, key
        Cells for which :func:`scim.tl.enrichment` was run, and its `key_added`.

    Returns
    -------
    Frame with a row for each query and value, the most significant first for each query:

    `query`, `value` : str
        Name of the group that was searched, or `"all cells"`; value of the column.
    `n_samples`, `n_supporting` : int64
        Samples that have the value; those of them that have a larger share of hits than the background, or a smaller
        one where the value is tested for fewer hits or has fewer.
    `n_hits`, `n_cells` : int64
        Hits among the cells of the samples that have the value, and cells that could have been hits.
    `fraction`, `background` : float64
        Share of a sample's cells that are hits, 0 to 1: weighted mean over the samples that have the value, and over
        all others. NaN: there are none.
    `log2_fold_change` : float64
        Of fraction to background; -inf without a hit, inf where only the value has hits, NaN without any.
    `p`, `q` : float64
        p value of the difference, with samples as replicates within studies, at most twice as large without any one
        sample; and its false discovery rate over the table. NaN: see `reason`.
    `reason` : str
        Reason for a missing p: no hits; a single sample with the value or with all others; or so few samples that no
        p could be below .05. Else empty.

    Raises
    ------
    KeyError
        `tl.enrichment` wrote nothing under this name.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.search(adata, groupby="cell_type", k=500, where="study == 'onek1k'")
    >>> scim.tl.enrichment(adata, "label", sample_key="donor")
    >>> best = scim.get.enrichment(adata).groupby("query", sort=False).head(1)
    >>> best["query"].tolist()
    ['B cell', 'T cell', 'classical monocyte']
    """
    check_adata(adata)
    check_text(key=key)
    record = adata.uns.get(key)
    if not isinstance(record, dict) or not isinstance(record.get("table"), pd.DataFrame):
        remedy = f"run scim.tl.enrichment(adata, by, sample_key=...) first. Present: {sorted(adata.uns)}."
        msg = f"uns[{key!r}] holds no enrichment; {remedy}"
        raise KeyError(msg)
    table: pd.DataFrame = record["table"]
    return table.set_axis(pd.RangeIndex(len(table)))  # a file gives the index back as plain numbers
