"""Return and count the hits of `tl.search`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scim._core import check_adata, check_flags, check_names, keys, logger
from scim._core.adata import search_result
from scim.atlas._open import opened_again

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData

    from scim.atlas import Atlas


_OF_HITS = ("query", "rank", "id", "distance", "similar")
_OF_COUNTS = ("n_hits", "share", "median_distance")


def hits(
    adata: AnnData,
    columns: Sequence[str] | None = None,
    *,
    only_similar: bool = True,
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
    only_similar
        Whether to leave out hits that are not like their query, but only the nearest that the filter left;
        :func:`scim.tl.search` says how hits are judged. How many were left out is logged.
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
    `similar` : bool
        Whether the hit is like its query; true throughout with `only_similar`.
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
    ['query', 'rank', 'id', 'distance', 'similar', 'label']
    """
    check_adata(adata)
    check_flags(only_similar=only_similar)
    result = search_result(adata, key)
    names = None if columns is None else check_names("columns", columns)
    chosen = result.similar if only_similar else result.ids >= 0
    if only_similar:
        _log_left_out(int((result.ids >= 0).sum()), int(chosen.sum()), key)
    query, rank = np.nonzero(chosen)
    columns_of_hits = {"query": result.queries[query], "rank": rank + 1, "id": result.ids[query, rank]}
    columns_of_hits |= {"distance": result.distances[query, rank], "similar": result.similar[query, rank]}
    frame = pd.DataFrame(columns_of_hits)
    unique, inverse = np.unique(frame["id"].to_numpy(), return_inverse=True)
    with opened_again(result.record["atlas"], atlas) as source:
        rows = source.obs(unique, columns=names)
    rows = rows.rename(columns=column_of_hits).take(inverse).set_axis(frame.index)
    return pd.concat([frame, rows], axis=1)


def column_of_hits(name: str) -> str:
    """Return the name that a column of the atlas has in a frame of hits."""
    return f"atlas_{name}" if name in _OF_HITS else name


def _log_left_out(n_hits: int, n_similar: int, key: str) -> None:
    if n_similar < n_hits:
        message = "%d of %d hits of uns[%r] are not like their query and are left out; only_similar=False keeps them"
        logger.info(message, n_hits - n_similar, n_hits, key)


def composition(
    adata: AnnData,
    by: str | Sequence[str],
    *,
    only_similar: bool = True,
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
    only_similar, atlas
        As in :func:`scim.get.hits`.

    Returns
    -------
    Frame with a row for each combination that occurs, most hits first, without rows where no hit is left: the columns
    of `by`, `n_hits` : int, `share` : float (of the hits that are counted, 0 to 1; of those of the query, when `by`
    has `"query"`), and `median_distance` : float32 (cosine distance of these hits to their query, 0 to 2).

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
    check_adata(adata)
    names = check_by(by)
    columns = [name for name in names if name != "query"]
    frame = hits(adata, columns, only_similar=only_similar, atlas=atlas, key=key)
    return count_hits(frame, names)


def check_by(by: str | Sequence[str], *, most: Literal[2] | None = None) -> list[str]:
    """Return the columns by which hits are counted; raise ValueError for none, the same twice, or more than `most`."""
    given = [by] if isinstance(by, str | Mapping) or not isinstance(by, Iterable) else list(by)
    names = check_names("by", given)
    if not names or len(names) < len(given) or len(names) > (most or len(names)):
        msg = f"by must be {'columns' if most is None else 'one or two columns'} of the atlas, each once; got {given}."
        raise ValueError(msg)
    if clash := [name for name in names if name in _OF_COUNTS]:
        msg = f"by={clash[0]!r} cannot be counted: the table has a column of this name itself; take scim.get.hits."
        raise ValueError(msg)
    return names


def count_hits(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Count the rows of a frame of hits by columns, as :func:`composition` does."""
    values = pd.DataFrame({name: frame[name if name == "query" else column_of_hits(name)] for name in names})
    values = values.astype(object).fillna("missing")
    by_value = frame["distance"].groupby([values[name] for name in names], sort=False)
    counted: pd.DataFrame = by_value.agg(n_hits="size", median_distance="median").reset_index()
    total = counted.groupby("query")["n_hits"].transform("sum") if "query" in names else counted["n_hits"].sum()
    counted.insert(len(names) + 1, "share", counted["n_hits"] / total)
    return counted.sort_values(["n_hits", *names], ascending=[False] + [True] * len(names), ignore_index=True)
