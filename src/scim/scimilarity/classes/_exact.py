"""Filters by whole texts, as those of the package are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.errors import FilterError
from scim.index.filter import JOINT, Where

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from scim.atlas import Atlas


def exactly(atlas: Atlas, condition: str, texts: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """Return the arguments of a query by which only some cells are found.

    Parameters
    ----------
    atlas
        The atlas.
    condition
        A filter that the cells pass.
    texts
        Columns of text, and of each the values one of which a cell has. `"asthma"` is not `"asthma || fibrosis"`.

    Returns
    -------
    `{"where": ...}`, or `{"allowed": ids}` where the index cannot tell.

    Raises
    ------
    FilterError
        No cell has such a value.
    """
    where = " and ".join([condition, *(f"`{name}` in {sorted(words)!r}" for name, words in texts.items())])
    if atlas.indexes(Where(where).columns) and not any(_has_joint(atlas, name) for name in texts):
        return {"where": where}
    ids = atlas.select(where)  # what has the values as parts too
    for name, words in texts.items():
        values = _values(atlas, ids, name)
        same = values.isin(list(words)).to_numpy(dtype=np.bool_)
        if len(ids) and not same.any():
            others = sorted(set(values.dropna()))[:5]
            msg = f"No cell has {name} == {' or '.join(map(repr, sorted(words)))} alone; expected one of {others}."
            raise FilterError(msg)
        ids = ids[same]
    return {"allowed": ids}


def _has_joint(atlas: Atlas, column: str) -> bool:
    values = atlas.index.obs([], [column])[column].astype("category")
    return any(JOINT in str(value) for value in values.cat.categories)


def _values(atlas: Atlas, ids: NDArray[np.int64], column: str) -> pd.Series[Any]:
    """Return a column of text; of the index it is one of categories, and needs little memory."""
    frame = atlas.index.obs(ids, [column]) if atlas.indexes([column]) else atlas.obs(ids, columns=[column])
    return frame[column]
