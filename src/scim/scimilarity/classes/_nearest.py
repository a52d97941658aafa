"""The searches of `CellQuery` for the nearest cells: of embeddings, of marked cells, of clusters."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.checks import check_range
from scim.scimilarity.classes._cellsearch import CellSearch
from scim.scimilarity.classes._coherence import query_coherence
from scim.scimilarity.classes._found import K_CLUSTERS
from scim.scimilarity.classes._marked import marked_cells
from scim.scimilarity.classes.utils import get_centroid, get_cluster_centroids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from scim.scimilarity.classes._found import Arrays, CentroidFound, ClusterFound, Found

_MOST = 1_000_000
"""Hits of a search by distance at most, as in the package."""


class NearestSearch(CellSearch):
    """Search for the nearest of the cells of `cellsearch`."""

    def search_nearest(
        self, embeddings: ArrayLike, k: int = 10000, ef: int | None = None, max_dist: float | None = None
    ) -> Found:
        """Find the nearest cells of each embedding.

        Parameters
        ----------
        embeddings
            (n, dim), or one of shape (dim,).
        k
            Number of hits.
        ef
            Accepted and not used: hardly any hit is missed, but for cells that are like none of the atlas.
        max_dist
            Instead of `k`: all cells within this cosine distance, a million at most.

        Returns
        -------
        nn_idxs, nn_dists
            For each embedding, numbers of its hits, nearest first, and their distances. None for an embedding of zeros.
        metadata
            A row for each hit: `index`, the published columns, `embedding_idx`, `query_nn_dist`.
        """
        if max_dist is None:
            found = self._nearest(embeddings, k, ef)
            inside = found.ids >= 0
            ids = [row[own] for row, own in zip(found.ids, inside, strict=True)]
            return self._with_metadata(ids, [row[own] for row, own in zip(found.distances, inside, strict=True)])
        check_range("max_dist", max_dist, 2.0)
        return self._with_metadata(*self._within(embeddings, max_dist, _MOST, **self._how(k, ef)))

    def search_centroid_nearest(
        self,
        adata: AnnData,
        centroid_key: str,
        k: int = 10000,
        ef: int | None = None,
        max_dist: float | None = None,
        qc: bool = True,
        qc_params: Mapping[str, int] = K_CLUSTERS,
        random_seed: int = 4,
    ) -> CentroidFound:
        """Find the nearest cells of the centroid of marked cells.

        Parameters
        ----------
        adata
            Cells aligned to `gene_order`, with log-normalised values in `X` and raw counts in `layers["counts"]`.
        centroid_key
            Column of obs that is 1 for the cells of the query.
        k, ef, max_dist
            As for :meth:`search_nearest`.
        qc
            Whether to measure the coherence of the query.
        qc_params
            `k_clusters`, the number of k-means centres for that.
        random_seed
            Of k-means.

        Returns
        -------
        centroid_embedding
            float32, shape (1, dim): summed counts, log-normalised as one cell, embedded.
        nn_idxs, nn_dists, metadata
            As of :meth:`search_nearest`.
        qc_stats
            `query_coherence`, 0 to 100: mean number of the 100 nearest of each centre of the cells that are hits.
        """
        return self._of_marked(
            adata, centroid_key, lambda X: self.search_nearest(X, k, ef, max_dist), qc, qc_params, random_seed
        )

    def search_cluster_centroids_nearest(
        self,
        adata: AnnData,
        cluster_key: str,
        cluster_label: str | None = None,
        k: int = 10000,
        ef: int | None = None,
        skip_null: bool = True,
        max_dist: float | None = None,
    ) -> ClusterFound:
        """Find the nearest cells of the centroid of each cluster.

        Parameters
        ----------
        adata
            Cells with raw counts in `layers["counts"]`; genes are aligned on the way.
        cluster_key
            Column of obs with the clusters.
        cluster_label
            One cluster. Default: all.
        k, ef, max_dist
            As for :meth:`search_nearest`.
        skip_null
            Whether to leave out cells without a cluster.

        Returns
        -------
        centroid_embeddings
            float32, shape (n_clusters, dim).
        cluster_idx
            The clusters in their order, sorted.
        nn_idxs, nn_dists
            For each cluster, a list of one array.
        metadata
            As of :meth:`search_nearest`, with the column `centroid`.
        """
        return self._of_clusters(
            adata, cluster_key, cluster_label, skip_null, lambda X: self.search_nearest(X, k, ef, max_dist)
        )

    def _within(
        self, embeddings: ArrayLike, max_dist: float, limit: int | None, **how: Any
    ) -> tuple[list[NDArray[np.int64]], Arrays]:
        """Return ids within a distance; an embedding of zeros has none."""
        X = np.atleast_2d(np.asarray(embeddings))
        near = self.knn.query_radius(X, max_dist, limit=limit, **how)
        stops = [slice(a, b if row.any() else a) for (a, b), row in zip(pairwise(near.starts), X, strict=True)]
        return [near.ids[some] for some in stops], [near.distances[some] for some in stops]

    def _of_marked(
        self,
        adata: AnnData,
        key: str,
        search: Callable[[NDArray[np.float32]], Found],
        qc: bool,
        qc_params: Mapping[str, int],
        random_seed: int,
    ) -> CentroidFound:
        cells = marked_cells(adata, key, self.gene_order)
        centroid = self.get_embeddings(get_centroid(cells.layers["counts"]))
        numbers, distances, metadata = search(centroid)
        stats: dict[str, float] = {}
        if qc:
            embedded = self.get_embeddings(cells.X)
            hits = numbers[0]
            coherence = query_coherence(
                embedded, hits, lambda X, k: self.get_nearest_neighbors(X, k)[0], qc_params, random_seed
            )
            stats["query_coherence"] = coherence
        return centroid, numbers, distances, metadata, stats

    def _of_clusters(
        self,
        adata: AnnData,
        key: str,
        label: str | None,
        skip_null: bool,
        search: Callable[[NDArray[np.float32]], Found],
    ) -> ClusterFound:
        centroids, clusters = get_cluster_centroids(adata, self.gene_order, key, label, skip_null=skip_null)
        embedded = self.get_embeddings(centroids)
        numbers, distances, metadata = search(embedded)
        metadata["centroid"] = np.array(clusters, dtype=object)[metadata["embedding_idx"]]
        by_cluster = {cluster: [own] for cluster, own in zip(clusters, numbers, strict=True)}
        far = {cluster: [own] for cluster, own in zip(clusters, distances, strict=True)}
        return embedded, clusters, by_cluster, far, metadata
