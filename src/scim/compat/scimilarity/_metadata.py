"""The published metadata of cells, as the columns of the atlas that it became."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scim._core import keys
from scim.compat.scimilarity._source import IMPORTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.atlas import Atlas

INDEX = "index"
"""The published column of row numbers."""

_RENAMED = "metadata_"
"""A published column that is called like one of every atlas has this before its name."""

_OURS = {keys.ATLAS_CELL_ID, keys.ATLAS_LABEL, keys.ATLAS_LABEL_ID, *IMPORTED}


def published_columns(atlas: Atlas) -> dict[str, str]:
    """Return the published columns but `index`, each with its name in the atlas."""
    taken = {f"{_RENAMED}{name}": name for name in (keys.ATLAS_CELL_ID, keys.ATLAS_LABEL, keys.ATLAS_LABEL_ID)}
    return {taken.get(name, name): name for name in atlas.columns if name not in _OURS}


def metadata_of(atlas: Atlas, ids: NDArray[np.int64], numbers: NDArray[np.int64]) -> pd.DataFrame:
    """Return the metadata of cells, `index` first, a row each in their order, numbered from 0.

    A cell that is asked for several times is read once.
    """
    names = published_columns(atlas)
    once, back = np.unique(ids, return_inverse=True)
    rows = atlas.obs(once, columns=list(names.values()))
    frame = rows.set_axis(list(names), axis=1).take(back).reset_index(drop=True)
    frame.insert(0, INDEX, numbers)
    return frame


def categories_of(atlas: Atlas, ids: NDArray[np.int64], columns: Sequence[str]) -> pd.DataFrame:
    """Return published columns of many cells, text as categories, indexed by id.

    Raises
    ------
    KeyError
        There is no such column.
    """
    names = published_columns(atlas)
    absent = [name for name in columns if name not in names]
    if absent:
        msg = f"The published metadata has no column {absent}. Present: {[INDEX, *names]}."
        raise KeyError(msg)
    frame = pd.DataFrame(index=pd.Index(ids))
    for name in columns:
        own = names[name]
        column = atlas.obs(ids, columns=[own])[own] if not atlas.indexes([own]) else atlas.index.obs(ids, [own])[own]
        frame[name] = column.array
    return frame
