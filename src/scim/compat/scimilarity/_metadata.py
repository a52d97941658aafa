"""The published metadata of cells, as the columns of the atlas that it became."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype

from scim._core import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.atlas import Atlas

INDEX = "index"
"""The published column of row numbers."""

_RENAMED = "metadata_"
"""A published column that is called like one of every atlas has this before its name."""

_OURS = {keys.ATLAS_CELL_ID, keys.ATLAS_LABEL, keys.ATLAS_LABEL_ID, *keys.REFERENCE_COLUMNS}


class Metadata:
    """The published columns of an imported atlas.

    Columns of numbers that the search index does not keep, as total counts, are read whole when they are first asked
    for and stay in memory, 8 bytes a cell each: of 10,000 hits that lie everywhere most of a column is read anyhow.

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
        whole = self._whole
        rest = [own for own in self.columns.values() if own not in whole]
        rows = self._atlas.obs(ids, columns=rest)
        place = np.searchsorted(self._atlas.ids, ids) if whole else ids
        frame: dict[str, Any] = {INDEX: numbers}
        for name, own in self.columns.items():
            frame[name] = whole[own].take(place) if own in whole else rows[own].array
        return pd.DataFrame(frame)

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

    @cached_property
    def _whole(self) -> dict[str, Any]:
        """Columns of all cells, in the order of their ids."""
        slow = [own for own in self.columns.values() if not self._atlas.indexes([own]) and not self._is_text(own)]
        return {own: self._atlas.obs(columns=[own])[own].array for own in slow}

    def _is_text(self, own: str) -> bool:
        return is_object_dtype(self._atlas.obs([], columns=[own])[own].dtype)
