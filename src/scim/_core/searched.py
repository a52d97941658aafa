"""What `tl.search` wrote, read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


class Searched(NamedTuple):
    """Queries and their hits."""

    queries: NDArray[np.object_]
    """(n_queries,) names of cells or groups."""

    ids: NDArray[np.int64]
    """(n_queries, k) `soma_joinid` of the hits; -1 = none."""

    distances: NDArray[np.float32]
    """(n_queries, k) ascending; inf = none."""

    record: dict[str, Any]
    """Parameters and atlas."""


def searched(adata: AnnData, key: str) -> Searched:
    """Return what was found.

    Raises
    ------
    KeyError
        There is no search of this name.
    """
    record = adata.uns.get(key)
    if not isinstance(record, dict) or not ({"ids", "ids_key"} & set(record)):
        msg = f"uns[{key!r}] holds no search; run scim.tl.search(adata, ...) first. Present: {sorted(adata.uns)}."
        raise KeyError(msg)
    if "groups" in record:
        return Searched(np.asarray(record["groups"], dtype=object), record["ids"], record["distances"], record)
    ids, distances = (np.asarray(adata.obsm[record[name]]) for name in ("ids_key", "distances_key"))
    return Searched(adata.obs_names.to_numpy(dtype=object), ids, distances, record)
