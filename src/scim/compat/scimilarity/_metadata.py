"""The published metadata of cells, as the columns of the atlas that it became."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from pandas.api.types import is_object_dtype

from scim._core import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from scim.atlas import Atlas

INDEX = "index"
"""The published column of row numbers."""

_RENAMED = "metadata_"
"""A published column that is called like one of every atlas has this before its name."""

_OURS = {keys.ATLAS_CELL_ID, keys.ATLAS_LABEL, keys.ATLAS_LABEL_ID, *keys.REFERENCE_COLUMNS}


class Metadata:
    """The published columns of an imported atlas.

    Parameters
    ----------
    atlas
        The atlas.
    """

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        taken = {f"{_RENAMED}{name}": name for name in (keys.ATLAS_CELL_ID, keys.ATLAS_LABEL, keys.ATLAS_LABEL_ID)}
        self.columns = {taken.get(name, name): name for name in atlas.columns if name not in _OURS}
        """The published columns but `index`, each with its name in the atlas."""

    def of(self, ids: NDArray[np.int64], numbers: NDArray[np.int64]) -> pd.DataFrame:
        """Return the metadata of cells, `index` first, a row each in their order, numbered from 0."""
        rows = self._atlas.obs(ids, columns=list(self.columns.values()))
        frame = rows.set_axis(list(self.columns), axis=1).reset_index(drop=True)
        frame.insert(0, INDEX, numbers)
        return frame

    def categories(self, ids: NDArray[np.int64], columns: Sequence[str]) -> pd.DataFrame:
        """Return published columns of many cells, text as categories, indexed by id.

        Raises
        ------
        KeyError
            There is no such column.
        """
        absent = [name for name in columns if name not in self.columns]
        if absent:
            msg = f"The published metadata has no column {absent}. Present: {[INDEX, *self.columns]}."
            raise KeyError(msg)
        frame = pd.DataFrame(index=pd.Index(ids))
        for name in columns:
            own = self.columns[name]
            text = self._is_text(own) and self._atlas.indexes([own])
            column = self._atlas.index.obs(ids, [own]) if text else self._atlas.obs(ids, columns=[own])
            frame[name] = column[own].array
        return frame

    def _is_text(self, own: str) -> bool:
        return is_object_dtype(self._atlas.obs([], columns=[own])[own].dtype)
