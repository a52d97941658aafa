"""`CellSearchKNN`: what :class:`CellAnnotation` and :class:`CellQuery` have in common."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.checks import check_count
from scim.compat.scimilarity._embedding import CellEmbedding
from scim.compat.scimilarity._source import imported_atlas
from scim.index import Neighbors

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from scim.atlas import Atlas
    from scim.compat.scimilarity._numbering import Numbering
    from scim.compat.scimilarity._source import ModelPath
    from scim.index import Index

_RECALL = 0.999
"""Share of the neighbours that a large index is asked to find: scripts were written for a search that hardly errs."""

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
            Accepted and not used: the index was built for a recall.

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
        check_ef(ef)
        found = self._nearest(embeddings, k)
        return self._numbering.numbers_of(found.ids), found.distances

    def _nearest(self, embeddings: ArrayLike, k: int) -> Neighbors:
        """Return ids and distances; an embedding of zeros, which has no direction, has no neighbours."""
        check_count("k", k)
        X = np.atleast_2d(np.asarray(embeddings))
        found = self.knn.query(X, k, **self._how())
        empty = ~np.any(X, axis=1)
        distances = np.where(empty[:, None], np.float32(np.inf), found.distances)
        ids = np.where(empty[:, None], -1, found.ids)
        return Neighbors(distances, ids)

    def _how(self) -> dict[str, Any]:
        """Return the arguments of a query by which only the cells of this class are found, as well as they can be."""
        knobs: dict[str, Any] = {"recall": _RECALL} if self.knn.kind == "ivf" else {}
        return knobs | self._only()

    def _only(self) -> dict[str, Any]:
        raise NotImplementedError

    @cached_property
    def _numbering(self) -> Numbering:
        raise NotImplementedError


def check_ef(ef: int | None) -> None:
    """Refuse what is neither `None` nor a number of candidates.

    Raises
    ------
    TypeError, ValueError
        It is not a whole number, or below 1.
    """
    if ef is not None:
        check_count("ef", ef)
