"""Numbers of cells in the published indices, and their ids in the atlas."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from scim._core import keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.atlas import Atlas

_CHUNK = 1 << 20  # names that are read at a time, of some 60 bytes each
_N_SAMPLED = 1000  # names that are compared with ids


class Numbering:
    """The number of each cell.

    Parameters
    ----------
    n
        How many cells have a number.
    by_id
        (n_ids,) number of each `soma_joinid`, -1 = none. `None`: the first `n` ids are the numbers themselves.
    """

    def __init__(self, n: int, by_id: NDArray[np.int32] | None = None) -> None:
        self.n = n
        self._by_id = by_id

    @classmethod
    def of_cellsearch(cls, atlas: Atlas) -> Self:
        """Return the rows of the published metadata: the ids themselves, unless cells were left out."""
        ids = _select(atlas, keys.IN_SEARCH)
        sample = ids[np.unique(np.linspace(0, len(ids) - 1, _N_SAMPLED).astype(np.int64))]
        if ids[-1] == len(ids) - 1 and np.array_equal(_names(atlas, sample), sample):
            return cls(len(ids))  # imports keep the order: if no id is missing and a sample is in place, all are
        by_id = np.full(int(ids[-1]) + 1, -1, dtype=np.int32)
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            by_id[chunk] = _names(atlas, chunk)
        return cls(len(ids), by_id)

    @classmethod
    def of_annotation(cls, atlas: Atlas) -> Self:
        """Return the lines of the published reference labels."""
        ids = _select(atlas, keys.IN_ANNOTATION)
        by_id = np.full(int(ids[-1]) + 1, -1, dtype=np.int32)
        by_id[ids] = atlas.obs(ids, columns=[keys.ANNOTATION_INDEX])[keys.ANNOTATION_INDEX].to_numpy(dtype=np.int64)
        return cls(len(ids), by_id)

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of the cells that have a number, ascending."""
        return np.arange(self.n) if self._by_id is None else np.flatnonzero(self._by_id >= 0)

    def numbers_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of ids, of any shape; -1 stays."""
        return ids if self._by_id is None else np.where(ids >= 0, self._by_id[ids], -1).astype(np.int64)

    def ids_of(self, numbers: Any) -> NDArray[np.int64]:
        """Return the ids of numbers, (n,)."""
        wanted = np.asarray(numbers).ravel()
        if wanted.size and wanted.dtype.kind not in "iu":
            msg = f"Expected numbers of cells, got {wanted.dtype}; np.flatnonzero(mask) turns a mask into numbers."
            raise TypeError(msg)
        wanted = wanted.astype(np.int64)
        size = self.n if self._by_id is None else len(self._by_number)
        ids = np.where((wanted >= 0) & (wanted < size), wanted, -1)
        if self._by_id is not None:
            ids = np.where(ids >= 0, self._by_number[ids], -1)
        if (ids < 0).any():
            msg = f"There is no cell of number {wanted[ids < 0][:5].tolist()}; there are {self.n:,} cells."
            raise KeyError(msg)
        return ids

    @cached_property
    def _by_number(self) -> NDArray[np.int64]:
        assert self._by_id is not None
        ids = self.ids
        out = np.full(int(self._by_id.max(initial=-1)) + 1, -1, dtype=np.int64)
        out[self._by_id[ids]] = ids
        return out


def _names(atlas: Atlas, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the names of cells, which are numbers."""
    names = atlas.obs(ids, columns=[keys.ATLAS_CELL_ID])[keys.ATLAS_CELL_ID].to_numpy(dtype=str)
    wrong = ~np.char.isdecimal(names)
    if wrong.any():
        msg = (
            f"Expected row numbers as names of the cells of {keys.IN_SEARCH}, got {keys.ATLAS_CELL_ID} "
            f"{names[wrong][:3].tolist()} at {atlas.uri!r}; import the folder again by `scim import-scimilarity`."
        )
        raise ValueError(msg)
    return names.astype(np.int64)


def _select(atlas: Atlas, column: str) -> NDArray[np.int64]:
    """Return the ids of the cells of a published index."""
    ids = atlas.select(column)
    if not len(ids):
        msg = f"No cell of the atlas at {atlas.uri!r} has {column}: the folder that was imported had no such index."
        raise ValueError(msg)
    return ids
