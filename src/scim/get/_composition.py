"""What the hits of a search are, counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scim._core import keys
from scim.get._hits import hits

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from scim.atlas import Atlas


def composition(
    adata: AnnData,
    by: str | Sequence[str],
    *,
    atlas: Atlas | str | os.PathLike[str] | None = None,
    key: str = keys.SEARCH,
) -> pd.DataFrame:
    """Count the hits of a search by columns of the atlas.

    Parameters
    ----------
    adata
        Cells searched by :func:`scim.tl.search`.
    by
        Columns of the atlas, or `"query"`. Missing values are counted as `"missing"`.
    atlas
        Where the atlas is now, if it is not where it was searched.
    key
        `key_added` of the search.

    Returns
    -------
    Frame with a row for each combination that occurs, most hits first:
    the columns of `by`, `n_hits` : int, `share` : float (of all hits, 0 to 1; of the hits of the query, when `by`
    has `"query"`).

    Raises
    ------
    KeyError
        There is no search of this name, or the atlas has no such column.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.search(adata, k=3)
    >>> float(scim.get.composition(adata, "label")["share"].sum().round(6))
    1.0
    """
    names = [by] if isinstance(by, str) else list(by)
    found = hits(adata, [name for name in names if name != "query"], atlas=atlas, key=key)
    kept = found[names].astype(object).fillna("missing")
    counted = kept.value_counts(sort=False).rename("n_hits").reset_index()
    whole = counted.groupby("query")["n_hits"].transform("sum") if "query" in names else counted["n_hits"].sum()
    counted["share"] = counted["n_hits"] / whole
    return counted.sort_values(["n_hits", *names], ascending=[False] + [True] * len(names), ignore_index=True)
