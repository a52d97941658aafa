"""`CellSearchKNN`: what :class:`CellAnnotation` and :class:`CellQuery` have in common."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.checks import check_count
from scim.index import Neighbors
from scim.scimilarity.classes._embedding import CellEmbedding
from scim.scimilarity.classes._source import imported_atlas

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from scim.atlas import Atlas
    from scim.index import Index
    from scim.scimilarity.classes._numbering import Numbering
    from scim.scimilarity.classes._source import ModelPath

_VOTE = {"reach": 0.3, "depth": 6.0}
"""Knobs of a large index for a vote: of 2,000 cells of other studies 1 got another label than from all of its
neighbours in a million, by `ef=100` of the package 38 (benchmarks/NOTES.md)."""

_THOROUGH = {"reach": 0.5, "depth": 16.0}
"""Knobs with which of 100,000 neighbours of such cells 1 was missed among those that vote, and 339 among all: those of
23 cells, most of tumours, that are like none of the atlas."""

_MANY = 20
"""Times `k` from which on `ef` asks for that: so did those who compared searches by `ef=1000` for 50 neighbours."""

_KINDS = ("hnswlib", "tiledb_vector_search")


class CellSearchKNN(CellEmbedding):
    """Search among some of the cells of an imported atlas.

    Parameters
    ----------
    model_path
        The atlas, made by `scim import-scimilarity`, or its open :class:`scim.atlas.Atlas`.
    knn_type
        Accepted and not used: the atlas has one index.
    use_gpu
        Accepted and not used.

    Raises
    ------
    ValueError
        `model_path` is a published folder, which has to be imported first, or another atlas.
    """

    def __init__(self, model_path: ModelPath, knn_type: str = "hnswlib", use_gpu: bool = False) -> None:
        if knn_type not in _KINDS:
            msg = f"knn_type must be one of {list(_KINDS)}, got {knn_type!r}."
            raise ValueError(msg)
        self._atlas = imported_atlas(model_path)  # the model is loaded when it is asked for
        self.model_path = model_path
        self.use_gpu = use_gpu
        self.knn_type = knn_type
        self.safelist: set[str] | None = None
        self.blocklist: set[str] | None = None

    @property
    def atlas(self) -> Atlas:
        """The atlas, for all that this package can do beside."""
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
            20 times `k` or more: hardly any neighbour is missed, but for cells that are like none of the atlas, for
            twice the time. Less is not used: two of 1,000 are missed. :class:`CellQuery` always takes the former.

        Returns
        -------
        nn_idxs
            int64, shape (n, k): numbers of the cells; -1 where there are fewer than `k`.
        nn_dists
            float32, shape (n, k): cosine distances, ascending; inf where there are fewer.

        Raises
        ------
        TypeError, ValueError
            `k` is no number of neighbours, or `embeddings` are not of this model.
        """
        found = self._nearest(embeddings, k, ef)
        return self._numbering.numbers_of(found.ids), found.distances

    def _nearest(self, embeddings: ArrayLike, k: int, ef: int | None) -> Neighbors:
        """Return ids and distances; an embedding of zeros, which has no direction, has no neighbours."""
        check_count("k", k)
        if ef is not None:
            check_count("ef", ef)
        X = np.atleast_2d(np.asarray(embeddings))
        found = self.knn.query(X, k, **self._how(k, ef))
        empty = ~np.any(X, axis=1)
        distances = np.where(empty[:, None], np.float32(np.inf), found.distances)
        ids = np.where(empty[:, None], -1, found.ids)
        return Neighbors(distances, ids)

    _always_thorough = False

    def _how(self, k: int, ef: int | None) -> dict[str, Any]:
        """Return the arguments of a query by which only the cells of this class are found, and how well."""
        if self.knn.kind != "ivf":
            return self._only()
        thorough = self._always_thorough or (ef is not None and ef >= _MANY * k)
        return (_THOROUGH if thorough else _VOTE) | self._only()

    def _only(self) -> dict[str, Any]:
        raise NotImplementedError

    @cached_property
    def _numbering(self) -> Numbering:
        raise NotImplementedError
