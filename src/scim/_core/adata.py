"""Read groups of cells and earlier results of `scim.tl` from an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scim._core import keys
from scim._core.checks import check_obs_key, check_text

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray


class Groups(NamedTuple):
    """Cells by group."""

    names: NDArray[np.object_]  # (n_groups,): as text, in the order of the categories
    codes: NDArray[np.int64]  # (n_obs,): group of each cell; -1 = in none


def groups_of(adata: AnnData, groupby: str) -> Groups:
    """Return the groups of a column of obs; cells with a missing value are in none.

    Raise KeyError if there is no such column, ValueError if all its values are missing.
    """
    check_obs_key(adata, groupby)
    return group_values(adata.obs[groupby], f"obs[{groupby!r}]")


def group_values(groups: ArrayLike | pd.Series[Any], name: str) -> Groups:
    """Return the groups of a list of values; missing ones are in none. Errors name the list `name`."""
    values = pd.Categorical(groups).remove_unused_categories()  # type: ignore[arg-type]  # stubs: lists only
    if len(values.categories) == 0:
        msg = f"{name} has only missing values; expected a group for at least one cell."
        raise ValueError(msg)
    texts = [str(category) for category in values.categories]  # 1 and "1" are the same group
    names = list(dict.fromkeys(texts))
    group_of_category = np.array([*map(names.index, texts), -1])
    return Groups(np.array(names, dtype=object), group_of_category[values.codes].astype(np.int64))


class SearchResult(NamedTuple):
    """Queries and hits that `tl.search` wrote."""

    queries: NDArray[np.object_]  # (n_queries,): names of cells or groups
    ids: NDArray[np.int64]  # (n_queries, k): `soma_joinid` of the hits; -1 = none
    distances: NDArray[np.float32]  # (n_queries, k): ascending; inf = none
    similar: NDArray[np.bool_]  # (n_queries, k): whether the hit is like its query, not only the nearest that is left
    record: dict[str, Any]  # the entry of uns: parameters and atlas


def search_result(adata: AnnData, key: str) -> SearchResult:
    """Return the search of this name. Raise KeyError if there is none."""
    check_text(key=key)
    record = adata.uns.get(key)
    if not isinstance(record, dict) or not ({"ids", "ids_key"} & set(record)):
        msg = f"uns[{key!r}] holds no search; run scim.tl.search(adata, ...) first. Present: {sorted(adata.uns)}."
        raise KeyError(msg)
    if "groups" in record:
        queries = np.asarray(record["groups"], dtype=object)
        ids, distances, similar = record["ids"], record["distances"], record.get("similar")
    else:
        queries = adata.obs_names.to_numpy(dtype=object)
        ids, distances = (np.asarray(adata.obsm[record[name]]) for name in ("ids_key", "distances_key"))
        similar = adata.obsm[record["similar_key"]] if "similar_key" in record else None
    found = ids >= 0  # a search of an earlier version has no marks: each of its hits counts as similar
    return SearchResult(queries, ids, distances, found if similar is None else found & np.asarray(similar), record)


def embedding_record(adata: AnnData, use_rep: str) -> dict[str, Any]:
    """Return what `tl.embed` wrote in uns about an embedding; empty if another tool made it."""
    records = adata.uns.get(keys.EMBED_PARAMS)
    record = records.get(use_rep) if isinstance(records, dict) else None
    return dict(record) if isinstance(record, dict) else {}


def annotation_record(adata: AnnData, key: str, call: str = "scim.tl.annotate(adata)") -> dict[str, Any]:
    """Return the entry of uns that `tl.annotate` wrote. Raise KeyError, which names the `call` to make, without one."""
    check_text(key=key)
    record = adata.uns.get(key)
    if not isinstance(record, dict) or "labels" not in record or f"{key}_shares" not in adata.obsm:
        msg = f"uns[{key!r}] holds no annotation; run {call} first. Present: {sorted(adata.uns)}."
        raise KeyError(msg)
    return record
