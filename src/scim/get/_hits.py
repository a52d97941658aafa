"""Return and count the hits of `tl.search`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scim._core import check_adata, keys
from scim._core.adata import search_result
from scim.atlas._open import opened_again

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData

    from scim.atlas import Atlas


def hits(
    adata: AnnData,
    columns: Sequence[str] | None = None,
    *,
    atlas: Atlas | str | os.PathLike[str] | None = None,
    key: str = keys.SEARCH,
) -> pd.DataFrame:
    """Return the hits of a search with their columns of the atlas.

    Parameters
    ----------
    adata, key
        Cells searched by :func:`scim.tl.search`, and its `key_added`.
    columns
        Columns of the atlas. Default: all.
    atlas
        The atlas, open or by its present path. Default: the path at which it was searched.

    Returns
    -------
    Frame with a row for each hit, best first for each query:

    `query` : str
        Name of the cell or group.
    `rank` : int
        1 = nearest.
    `id` : int64
        `soma_joinid` in the atlas.
    `distance` : float32
        Cosine distance, 0 to 2.
    and the columns of the atlas.

    Raises
    ------
    KeyError
        There is no search of this name, or the atlas has no such column.
    ValueError
        The atlas is not the one that was searched.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.search(adata, groupby="cell_type", k=3)
    >>> scim.get.hits(adata, ["label"]).columns.tolist()
    ['query', 'rank', 'id', 'distance', 'label']
    """
    check_adata(adata)
    queries, ids, distances, record = search_result(adata, key)
    query, rank = np.nonzero(ids >= 0)
    columns_of_hits = {"query": queries[query], "rank": rank + 1}
    frame = pd.DataFrame(columns_of_hits | {"id": ids[query, rank], "distance": distances[query, rank]})
    unique, inverse = np.unique(frame["id"].to_numpy(), return_inverse=True)
    with opened_again(record["atlas"], atlas) as source:
        rows = source.obs(unique, columns=columns)
    clash = {name: f"atlas_{name}" for name in rows.columns if name in frame}
    rows = rows.rename(columns=clash).take(inverse).set_axis(frame.index)
    return pd.concat([frame, rows], axis=1)


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
    adata, key
        Cells searched by :func:`scim.tl.search`, and its `key_added`.
    by
        Columns of the atlas, or `"query"`. Missing values are counted as `"missing"`.
    atlas
        As in :func:`scim.get.hits`.

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
    frame = hits(adata, [name for name in names if name != "query"], atlas=atlas, key=key)
    values = frame[names].astype(object).fillna("missing")
    counted = values.value_counts(sort=False).rename("n_hits").reset_index()
    total = counted.groupby("query")["n_hits"].transform("sum") if "query" in names else counted["n_hits"].sum()
    counted["share"] = counted["n_hits"] / total
    return counted.sort_values(["n_hits", *names], ascending=[False] + [True] * len(names), ignore_index=True)
