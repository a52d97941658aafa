"""The published metadata of cells, as the columns of the atlas that it became."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

_PREFIX = "metadata_"
"""What the atlas writes before the name of a published column that it uses itself, or that begins so already."""

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
        kept = [name for name in atlas.columns if name not in _OURS]
        self._kept_index = f"{_PREFIX}{INDEX}" in kept
        self.columns = {name.removeprefix(_PREFIX): name for name in kept if name != f"{_PREFIX}{INDEX}"}
        """The published columns but `index`, each with its name in the atlas."""

    @property
    def index(self) -> str:
        """The column of the atlas that has what `index` shows; row numbers are not kept beside the names of cells."""
        return f"{_PREFIX}{INDEX}" if self._kept_index else keys.ATLAS_CELL_ID

    def index_of(self, ids: NDArray[np.int64], numbers: NDArray[np.int64]) -> Any:
        """Return the published column `index` of cells: their row numbers, unless it said otherwise."""
        return self._atlas.obs(ids, columns=[self.index])[self.index].array if self._kept_index else numbers

    def of(self, ids: NDArray[np.int64], numbers: NDArray[np.int64]) -> pd.DataFrame:
        """Return the metadata of cells, `index` first, a row each in their order, labelled from 0."""
        rows = self._atlas.obs(ids, columns=list(self.columns.values()))
        frame = rows.set_axis(list(self.columns), axis=1).reset_index(drop=True)
        frame.insert(0, INDEX, self.index_of(ids, numbers))
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
