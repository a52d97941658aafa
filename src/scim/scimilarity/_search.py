"""`CellSearchKNN`: the search that :class:`CellAnnotation` and :class:`CellQuery` share."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from scim import atlas as atlases
from scim._core import check_choice, check_count, keys
from scim.atlas import Atlas
from scim.index import Neighbors
from scim.scimilarity._embedding import CellEmbedding, is_published

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from scim.index import Index
    from scim.scimilarity._embedding import ModelPath
    from scim.scimilarity._numbering import Numbering

# Labels of 1 in 2,000 cells differ from those of an exact search, 38 by `ef=100` of the package (benchmarks/NOTES.md).
_FAST = {"probe_factor": 0.3, "rerank_factor": 6.0}
_THOROUGH = {"probe_factor": 0.5, "rerank_factor": 16.0}  # misses 1 in 100,000 neighbours among labelled cells
_THOROUGH_EF = 20  # times k from which on `ef` is thorough, as in published comparisons: `ef=1000` for 50 neighbours


class CellSearchKNN(CellEmbedding):
    """Search among the cells of one published index in an imported atlas.

    Parameters
    ----------
    model_path
        The atlas, made by `scim import-scimilarity`, or its open :class:`scim.atlas.Atlas`.
    knn_type, use_gpu
        Accepted and not used: the atlas has one index.

    Raises
    ------
    ValueError
        `model_path` is a published folder, which has to be imported first, or another atlas.
    """

    _where: str
    """Filter of the cells of this index."""

    _always_thorough = False

    def __init__(self, model_path: ModelPath, knn_type: str = "hnswlib", use_gpu: bool = False) -> None:
        check_choice("knn_type", knn_type, ["hnswlib", "tiledb_vector_search"])
        self._atlas = _open_imported(model_path)  # the model is loaded when first used
        self.model_path = model_path
        self.use_gpu = use_gpu
        self.knn_type = knn_type
        self.safelist: set[str] | None = None
        self.blocklist: set[str] | None = None

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
            20 times `k` or more: hardly any neighbour is missed, but for cells that are like no cell of the atlas, for
            twice the time. Less is not used: two of 1,000 are missed. :class:`CellQuery` always takes the former.

        Returns
        -------
        nn_idxs, nn_dists
            int64 and float32, shape (n, k): numbers of the cells and their cosine distances, ascending; -1 and inf
            where there are fewer than `k`.
        """
        neighbors = self._nearest(embeddings, k, ef)
        return self._numbering.numbers_of(neighbors.ids), neighbors.distances

    def _nearest(self, embeddings: ArrayLike, k: int, ef: int | None) -> Neighbors:
        """Return ids and distances; an embedding of zeros, which has no direction, has no neighbours."""
        check_count("k", k)
        if ef is not None:
            check_count("ef", ef)
        X = np.atleast_2d(np.asarray(embeddings))
        neighbors = self.knn.query(X, k, **self._search_parameters(k, ef))
        is_zero = ~np.any(X, axis=1)[:, None]
        distances = np.where(is_zero, np.float32(np.inf), neighbors.distances)
        return Neighbors(distances, np.where(is_zero, -1, neighbors.ids))

    def _search_parameters(self, k: int, ef: int | None) -> dict[str, Any]:
        if self.knn.kind != "ivf":
            return self._filter()
        thorough = self._always_thorough or (ef is not None and ef >= _THOROUGH_EF * k)
        return (_THOROUGH if thorough else _FAST) | self._filter()

    def _filter(self) -> dict[str, Any]:
        """Return the arguments of a query that restrict it to the cells of this index."""
        return {"where": self._where}

    @cached_property
    def _numbering(self) -> Numbering:
        raise NotImplementedError


def _open_imported(model_path: ModelPath) -> Atlas:
    """Open the atlas that `scim import-scimilarity` made; an open one is returned as it is."""
    if isinstance(model_path, Atlas):
        _check_imported(model_path)
        return model_path
    if is_published(model_path):
        folder = os.fspath(model_path)
        msg = (
            f"{folder!r} is a folder as SCimilarity publishes it; import it once, by the command "
            f"`scim import-scimilarity {folder} atlas.scim`, and give the path of the atlas instead."
        )
        raise ValueError(msg)
    atlas = atlases.open(model_path)
    try:
        _check_imported(atlas)
    except BaseException:
        atlas.close()
        raise
    return atlas


def _check_imported(atlas: Atlas) -> None:
    absent = [name for name in keys.REFERENCE_COLUMNS if name not in atlas.columns]
    if absent:
        msg = (
            f"The atlas at {atlas.uri!r} has no columns {absent}; expected one made by `scim import-scimilarity`. "
            "Use scim.tl.annotate and scim.tl.search with other atlases."
        )
        raise ValueError(msg)
