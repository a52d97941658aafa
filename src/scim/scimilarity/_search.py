"""`CellSearchKNN`: the search that :class:`CellAnnotation` and :class:`CellQuery` share."""

from __future__ import annotations

import contextlib
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from scim import atlas as atlases
from scim._core import check_choice, check_count, keys
from scim.atlas import Atlas
from scim.scimilarity._embedding import CellEmbedding, is_published

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from scim.index import Index, Neighbors
    from scim.scimilarity._embedding import ModelPath

# Labels of 1 in 2,000 cells differ from those of an exact search, 38 by `ef=100` of the package (benchmarks/NOTES.md).
_FAST = {"probe_factor": 0.3, "rerank_factor": 6.0}
_THOROUGH = {"probe_factor": 0.5, "rerank_factor": 16.0}  # misses 1 in 100,000 neighbours among labelled cells
_THOROUGH_EF = 20  # times k from which on `ef` is thorough, as in published comparisons: `ef=1000` for 50 neighbours

_CHUNK = 1 << 20  # names that are read at a time, of some 60 bytes each
_N_SAMPLED = 1000  # names that are compared with ids


class CellSearchKNN(CellEmbedding):
    """Search among the cells of one published index in an imported atlas.

    Parameters
    ----------
    model_path
        The atlas, made by `scim import-scimilarity`, or its open :class:`scim.atlas.Atlas`; another atlas, or a
        published folder, which has to be imported first, raises ValueError.
    knn_type, use_gpu
        Accepted and not used: the atlas has one index.
    """

    _where: str  # filter of the cells of this index
    _always_thorough = False

    def __init__(self, model_path: ModelPath, knn_type: str = "hnswlib", use_gpu: bool = False) -> None:
        check_choice("knn_type", knn_type, ["hnswlib", "tiledb_vector_search"])
        self._atlas = _open_imported(model_path)  # the model is loaded when first used
        self.model_path, self.use_gpu, self.knn_type = model_path, use_gpu, knn_type
        self.safelist: set[str] | None = None
        self.blocklist: set[str] | None = None
        self._eligible: dict[str, Any] = {"where": self._where}  # the arguments of a query for cells that may be found

    @property
    def atlas(self) -> Atlas:
        """The atlas, for everything else in scim."""
        return self._atlas

    @property
    def knn(self) -> Index:
        """The search index of the atlas."""
        return self._atlas.index

    def get_nearest_neighbors(
        self, embeddings: ArrayLike, k: int = 50, ef: int = 100
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the nearest cells.

        Parameters
        ----------
        embeddings
            (n, dim).
        k
            Number of neighbours.
        ef
            20 times `k` or more, as always in :class:`CellQuery`: hardly any neighbour is missed, but for cells that
            are like no cell of the atlas, for twice the time. Less is not used: two of 1,000 are missed.

        Returns
        -------
        nn_idxs, nn_dists
            int64 and float32, shape (n, k): numbers of the cells and their cosine distances, ascending; -1 and inf
            where there are fewer than `k`, and for an embedding of zeros.
        """
        neighbors = self._nearest(embeddings, k, ef)
        return self._numbering.numbers_of(neighbors.ids), neighbors.distances

    def _nearest(self, embeddings: ArrayLike, k: int, ef: int | None) -> Neighbors:
        """Return ids and distances."""
        check_count("k", k)
        if ef is not None:
            check_count("ef", ef)
        return self.knn.query(np.atleast_2d(np.asarray(embeddings)), k, **self._search_parameters(k, ef))

    def _search_parameters(self, k: int, ef: int | None) -> dict[str, Any]:
        if self.knn.kind != "ivf":
            return self._eligible
        thorough = self._always_thorough or (ef is not None and ef >= _THOROUGH_EF * k)
        return (_THOROUGH if thorough else _FAST) | self._eligible

    @cached_property
    def _numbering(self) -> Numbering:
        raise NotImplementedError


def _open_imported(model_path: ModelPath) -> Atlas:
    """Open the atlas that `scim import-scimilarity` made; an open one is returned as it is."""
    if not isinstance(model_path, Atlas) and is_published(model_path):
        folder = os.fspath(model_path)
        msg = f"{folder!r} is a folder as SCimilarity publishes it; import it once, by the command "
        msg += f"`scim import-scimilarity {folder} atlas.scim`, and give the path of the atlas instead."
        raise ValueError(msg)
    with contextlib.ExitStack() as stack:
        atlas = model_path if isinstance(model_path, Atlas) else stack.enter_context(atlases.open(model_path))
        absent = [name for name in keys.REFERENCE_COLUMNS if name not in atlas.columns]
        if absent:
            msg = f"The atlas at {atlas.uri!r} has no columns {absent}; expected one made by `scim import-scimilarity`."
            msg += " Use scim.tl.annotate and scim.tl.search with other atlases."
            raise ValueError(msg)
        stack.pop_all()  # the atlas stays open
    return atlas


class Numbering:
    """The numbers of `n` cells."""

    def __init__(self, n: int, by_id: NDArray[np.int32] | None = None) -> None:
        self.n = n
        self._by_id = by_id  # number of each `soma_joinid`, -1 = none; `None`: the first `n` ids are the numbers

    @classmethod
    def of_cellsearch(cls, atlas: Atlas) -> Self:
        """Return the rows of the published metadata: the ids themselves, unless cells were left out."""
        ids = _select(atlas, keys.IN_SEARCH)
        sample = ids[np.unique(np.linspace(0, len(ids) - 1, _N_SAMPLED).astype(np.int64))]
        if ids[-1] == len(ids) - 1 and np.array_equal(_row_numbers(atlas, sample), sample):
            return cls(len(ids))  # imports keep the order: if no id is missing and a sample is in place, all are
        by_id = np.full(int(ids[-1]) + 1, -1, dtype=np.int32)
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            by_id[chunk] = _row_numbers(atlas, chunk)
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


def _row_numbers(atlas: Atlas, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the names of cells, which are row numbers."""
    names = atlas.obs(ids, columns=[keys.ATLAS_CELL_ID])[keys.ATLAS_CELL_ID].to_numpy(dtype=str)
    wrong = ~np.char.isdecimal(names)
    if wrong.any():
        msg = f"Expected row numbers as names of the cells of {keys.IN_SEARCH}, got {keys.ATLAS_CELL_ID} "
        msg += f"{names[wrong][:3].tolist()} at {atlas.uri!r}; import the folder again by `scim import-scimilarity`."
        raise ValueError(msg)
    return names.astype(np.int64)


def _select(atlas: Atlas, column: str) -> NDArray[np.int64]:
    """Return the ids of the cells of a published index."""
    ids = atlas.select(column)
    if not len(ids):
        msg = f"No cell of the atlas at {atlas.uri!r} has {column}: the folder that was imported had no such index."
        raise ValueError(msg)
    return ids
