"""Count the hits of each query for a picture: rare values joined, and what `tl.enrichment` found of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim import get
from scim._core import check_names, check_text
from scim._core.adata import search_result

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from scim.atlas import Atlas

OTHER, _ALL = "other", "all cells"


class QueryCounts(NamedTuple):
    """Hits by query and columns of the atlas."""

    queries: list[str]  # in the order of the search, those without hits too
    frame: pd.DataFrame  # `query`, the columns (values as text), `n_hits`, `share` of the hits of the query


class TestedValues(NamedTuple):
    """Findings of `tl.enrichment` on the values of one column."""

    column: str
    least: float  # -log10 of the largest q of a finding
    strengths: dict[tuple[str, str], float]  # -log10 q by query and value
    table: pd.DataFrame  # as `get.enrichment` returns it


def query_counts(
    adata: AnnData,
    columns: list[str],
    queries: str | Sequence[str] | None,
    *,
    top: int,
    only_similar: bool,
    atlas: Atlas | str | os.PathLike[str] | None,
    key: str,
) -> QueryCounts:
    """Return the hits of the queries; all but the `top` values of a column with most hits are joined as "other".

    The hits of single cells are those of one query, `"all cells"`. Raise KeyError if there is no such query, ValueError
    for the column `"query"`.
    """
    if "query" in columns:
        msg = "by names columns of the atlas; queries are drawn anyway, queries=[...] chooses some."
        raise ValueError(msg)
    result = search_result(adata, key)
    grouped = "groups" in result.record
    present = [str(query) for query in result.queries] if grouped else [_ALL]
    names = present if queries is None else check_queries(queries)
    if unknown := [name for name in names if name not in present]:
        msg = f"uns[{key!r}] has no query {unknown}. Present: {present}."
        raise KeyError(msg)
    by = ["query", *columns] if grouped else columns
    counted = get.composition(adata, by, only_similar=only_similar, atlas=atlas, key=key)
    counted = counted.assign(query=counted["query"].astype(str) if grouped else _ALL)
    counted = counted[counted["query"].isin(names)]
    for name in columns:
        values = counted[name].astype(str)
        frequent = counted["n_hits"].groupby(values).sum().sort_values(ascending=False, kind="stable").index
        counted[name] = values.where(values.isin(frequent[:top]), OTHER)
    sums = counted.groupby(["query", *columns], sort=False)[["n_hits", "share"]].sum().reset_index()
    return QueryCounts(list(dict.fromkeys(names)), sums)


def check_queries(queries: str | Sequence[str]) -> list[str]:
    """Return the names of the queries to draw; raise TypeError for what is no text, ValueError for none."""
    names = check_names("queries", queries)
    if not names:
        msg = "queries names none; leave it out to draw all."
        raise ValueError(msg)
    return names


def tested_values(
    adata: AnnData, columns: list[str], *, max_q: float, key: str, enrichment_key: str
) -> TestedValues | None:
    """Return what `tl.enrichment` found of one of the columns for this search; `None` if it tested neither."""
    check_text(enrichment_key=enrichment_key)
    record = adata.uns.get(enrichment_key)
    if not isinstance(record, dict) or "table" not in record or record["params"]["key"] != key:
        return None
    column = str(record["params"]["by"])
    if column not in columns:
        return None
    table = get.enrichment(adata, key=enrichment_key)
    found = table[table["q"] <= max_q]
    strength = -np.log10(np.maximum(found["q"], np.finfo(np.float64).tiny))
    pairs = zip(found["query"], found["value"], strict=True)
    return TestedValues(
        column, -float(np.log10(max_q)) if max_q else 300.0, dict(zip(pairs, strength, strict=True)), table
    )
