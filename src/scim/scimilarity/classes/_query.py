"""`CellQuery`: the cells of an imported atlas that are most like others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.checks import check_count, check_range
from scim.scimilarity.classes._exhaustive import everything, passing
from scim.scimilarity.classes._found import K_CLUSTERS
from scim.scimilarity.classes._nearest import NearestSearch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from scim.scimilarity.classes._found import CentroidFound, ClusterFound, Found
    from scim.scimilarity.classes._source import ModelPath


class CellQuery(NearestSearch):
    """Find the cells of an imported atlas that are most like others.

    Numbers of cells, in all that is returned and taken, are rows of the published metadata.

    Parameters
    ----------
    model_path
        The atlas, made by `scim import-scimilarity`, or its open :class:`scim.atlas.Atlas`.
    use_gpu, filenames, metadata_tiledb_uri, embedding_tiledb_uri, knn_type, load_knn
        Accepted and not used: all is in the atlas, and read when it is asked for.

    Raises
    ------
    ValueError
        `model_path` is a published folder, which has to be imported first, or another atlas.
    """

    def __init__(
        self,
        model_path: ModelPath,
        use_gpu: bool = False,
        filenames: Mapping[str, str] | None = None,
        metadata_tiledb_uri: str = "cell_metadata",
        embedding_tiledb_uri: str = "cell_embedding",
        knn_type: str = "hnswlib",
        load_knn: bool = True,
    ) -> None:
        super().__init__(model_path, knn_type=knn_type, use_gpu=use_gpu)

    def search_exhaustive(
        self,
        embeddings: ArrayLike,
        max_dist: float = 0.03,
        metadata_filter: Mapping[str, Any] | None = None,
        buffer_size: int = 100000,
    ) -> Found:
        """Find all cells within a distance, by looking into every list of the index.

        Hardly any is missed: each is ordered by a short form of its embedding, and the nearest are measured.

        Parameters
        ----------
        embeddings
            (n, dim), or one of shape (dim,).
        max_dist
            Cosine distance, 0 to 2.
        metadata_filter
            Published columns and the value that a cell must have in each; only such cells are looked at.
        buffer_size
            Accepted and not used.

        Returns
        -------
        As of :meth:`search_nearest`, with no limit to the number of hits; distances, float64, are good to about 1e-6.

        Raises
        ------
        KeyError
            There is no such column.
        FilterError
            No cell has such a value.
        """
        check_range("max_dist", max_dist, 2.0)
        check_count("buffer_size", buffer_size)
        how = passing(metadata_filter, self._atlas, self._metadata) if metadata_filter else self._only()
        ids, distances = self._within(embeddings, max_dist, None, **how, **everything(self.knn))
        return self._with_metadata(ids, [row.astype(np.float64) for row in distances])

    def search_centroid_exhaustive(
        self,
        adata: AnnData,
        centroid_key: str,
        max_dist: float = 0.03,
        metadata_filter: Mapping[str, Any] | None = None,
        qc: bool = True,
        qc_params: Mapping[str, int] = K_CLUSTERS,
        buffer_size: int = 100000,
        random_seed: int = 4,
    ) -> CentroidFound:
        """Find all cells within a distance of the centroid of marked cells.

        Parameters and what is returned are those of :meth:`search_centroid_nearest` and :meth:`search_exhaustive`.
        """

        def search(X: NDArray[np.float32]) -> Found:
            return self.search_exhaustive(X, max_dist, metadata_filter, buffer_size)

        return self._of_marked(adata, centroid_key, search, qc, qc_params, random_seed)

    def search_cluster_centroids_exhaustive(
        self,
        adata: AnnData,
        cluster_key: str,
        cluster_label: str | None = None,
        max_dist: float = 0.03,
        metadata_filter: Mapping[str, Any] | None = None,
        buffer_size: int = 100000,
        skip_null: bool = True,
    ) -> ClusterFound:
        """Find all cells within a distance of the centroid of each cluster.

        Parameters and what is returned are those of :meth:`search_cluster_centroids_nearest` and
        :meth:`search_exhaustive`.
        """

        def search(X: NDArray[np.float32]) -> Found:
            return self.search_exhaustive(X, max_dist, metadata_filter, buffer_size)

        return self._of_clusters(adata, cluster_key, cluster_label, skip_null, search)
