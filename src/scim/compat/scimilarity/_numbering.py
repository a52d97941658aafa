"""Numbers by which the package calls cells, and ids by which the atlas does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from scim._core import keys
from scim.compat.scimilarity._source import ANNOTATION_INDEX, IN_ANNOTATION, IN_CELLSEARCH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.atlas import Atlas

_READ = 1 << 20
"""Cells whose names are read at a time: names are text, of some 60 bytes each."""


@dataclass(frozen=True)
class Numbering:
    """Which number each cell has; `ids` and `numbers` belong together.

    Attributes
    ----------
    ids
        (n,) `soma_joinid`, ascending.
    numbers
        (n,) number of each.
    """

    ids: NDArray[np.int64]
    numbers: NDArray[np.int64]

    @classmethod
    def of_cellsearch(cls, atlas: Atlas) -> Self:
        """Return the rows of the published metadata: the ids themselves, unless cells were left out."""
        ids = atlas.select(IN_CELLSEARCH)
        last = atlas.obs(ids[-1:], columns=[keys.ATLAS_CELL_ID])[keys.ATLAS_CELL_ID]
        if len(ids) and ids[-1] == len(ids) - 1 and str(last.iloc[0]) == str(len(ids) - 1):
            return cls(ids, ids)
        parts = []
        for start in range(0, len(ids), _READ):
            names = atlas.obs(ids[start : start + _READ], columns=[keys.ATLAS_CELL_ID])[keys.ATLAS_CELL_ID]
            parts.append(names.to_numpy(dtype=str).astype(np.int64))
        return cls(ids, np.concatenate([np.empty(0, dtype=np.int64), *parts]))

    @classmethod
    def of_annotation(cls, atlas: Atlas) -> Self:
        """Return the lines of the published reference labels."""
        ids = atlas.select(IN_ANNOTATION)
        lines = atlas.obs(ids, columns=[ANNOTATION_INDEX])[ANNOTATION_INDEX]
        return cls(ids, lines.to_numpy(dtype=np.int64))

    def numbers_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of ids, of any shape; -1 stays."""
        if self.numbers is self.ids:
            return ids
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(ids >= 0, self.numbers[place], -1)

    def ids_of(self, numbers: Any) -> NDArray[np.int64]:
        """Return the ids of numbers.

        Raises
        ------
        TypeError
            They are not whole numbers.
        KeyError
            There is no cell of that number.
        """
        wanted = np.asarray(numbers).ravel()
        if wanted.size and wanted.dtype.kind not in "iu":
            msg = f"Expected numbers of cells, got {wanted.dtype}; np.flatnonzero(mask) turns a mask into numbers."
            raise TypeError(msg)
        wanted = wanted.astype(np.int64)
        order = slice(None) if bool((np.diff(self.numbers) > 0).all()) else np.argsort(self.numbers)
        ordered = self.numbers[order]
        place = np.minimum(np.searchsorted(ordered, wanted), max(len(ordered) - 1, 0))
        known = ordered[place] == wanted if len(ordered) else np.zeros(len(wanted), dtype=np.bool_)
        if not known.all():
            msg = f"There is no cell of number {wanted[~known][:5].tolist()}; there are {len(self.ids):,} cells."
            raise KeyError(msg)
        return self.ids[order][place]
