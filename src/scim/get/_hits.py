"""What `tl.search` found, one row a hit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scim import atlas as atlases
from scim._core import keys
from scim._core.checks import check_adata
from scim._core.searched import searched

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData


def hits(
    adata: AnnData,
    columns: Sequence[str] | None = None,
    *,
    atlas: atlases.Atlas | str | os.PathLike[str] | None = None,
    key: str = keys.SEARCH,
) -> pd.DataFrame:
    """Return the hits of a search, joined with what the atlas knows of them.

    Parameters
    ----------
    adata
        Cells searched by :func:`scim.tl.search`.
    columns
        Columns of the atlas. Default: all.
    atlas
        Where the atlas is now, if it is not where it was searched; or the atlas, open, which saves opening it again.
    key
        `key_added` of the search.

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
    queries, ids, distances, record = searched(adata, key)
    found = ids.ravel() >= 0
    k = ids.shape[1]
    frame = pd.DataFrame(
        {
            "query": np.repeat(queries, k)[found],
            "rank": np.tile(np.arange(1, k + 1), len(queries))[found],
            "id": ids.ravel()[found],
            "distance": distances.ravel()[found],
        }
    )
    unique, inverse = np.unique(frame["id"].to_numpy(), return_inverse=True)
    with atlases.opened_again(record["atlas"], atlas) as source:
        rows = source.obs(unique, columns=columns)
    clash = {name: f"atlas_{name}" for name in rows.columns if name in frame}
    rows = rows.rename(columns=clash).take(inverse).set_axis(frame.index)
    return pd.concat([frame, rows], axis=1)
