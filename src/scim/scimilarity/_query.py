"""`CellQuery`: the cells of an imported atlas that are most similar to a query."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy.cluster.vq import kmeans

from scim._core import check_count, check_range
from scim._core.cosine import is_directed
from scim.scimilarity._cellsearch import CellSearch
from scim.scimilarity._centroids import get_centroid, get_cluster_centroids, marked_cells
from scim.scimilarity._filter import match_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from scim.scimilarity._embedding import ModelPath

    Numbers: TypeAlias = list[NDArray[np.int64]]
    Distances: TypeAlias = list[NDArray[Any]]
    Embeddings: TypeAlias = NDArray[np.float32]
    Hits: TypeAlias = tuple[Numbers, Distances, pd.DataFrame]
    Search: TypeAlias = Callable[[Embeddings], Hits]
    CentroidHits: TypeAlias = tuple[Embeddings, Numbers, Distances, pd.DataFrame, dict[str, float]]
    ClusterHits: TypeAlias = tuple[Embeddings, list[str], dict[str, Numbers], dict[str, Distances], pd.DataFrame]

_MAX_HITS = 1_000_000  # of a search by distance, as in the package
K_CLUSTERS = {"k_clusters": 10}


class CellQuery(CellSearch):
    """Find the cells of an imported atlas that are most similar to a query.

    Numbers of cells, in all arguments and results, are rows of the published metadata. `model_path` is as for
    :class:`CellSearchKNN`; the other arguments are accepted and not used.
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

    def search_nearest(
        self, embeddings: ArrayLike, k: int = 10000, ef: int | None = None, max_dist: float | None = None
    ) -> Hits:
        """Find the nearest cells of each embedding.

        Parameters
        ----------
        embeddings
            (n, dim), or one of shape (dim,).
        k
            Number of hits.
        ef
            Accepted and not used: hardly any hit is missed, but for cells that are like no cell of the atlas.
        max_dist
            Instead of `k`: all cells within this cosine distance, a million at most.

        Returns
        -------
        nn_idxs, nn_dists
            For each embedding, numbers of its hits, nearest first, and their distances. None for an embedding of zeros.
        metadata
            A row for each hit: `index`, the published columns, `embedding_idx`, `query_nn_dist`.
        """
        if max_dist is not None:
            check_range("max_dist", max_dist, 2.0)
            return self._with_metadata(*self._within(embeddings, max_dist, _MAX_HITS, **self._search_parameters(k, ef)))
        neighbors = self._nearest(embeddings, k, ef)
        inside = neighbors.ids >= 0
        ids = [row[kept] for row, kept in zip(neighbors.ids, inside, strict=True)]
        return self._with_metadata(ids, [row[kept] for row, kept in zip(neighbors.distances, inside, strict=True)])

    def search_exhaustive(
        self,
        embeddings: ArrayLike,
        max_dist: float = 0.03,
        metadata_filter: Mapping[str, Any] | None = None,
        buffer_size: int = 100000,
    ) -> Hits:
        """Find all cells within a distance, by probing every list of the index: hardly any is missed.

        Parameters
        ----------
        embeddings
            (n, dim), or one of shape (dim,).
        max_dist
            Cosine distance, 0 to 2.
        metadata_filter
            Required values of published columns. A column that does not exist raises KeyError, a value that no cell has
            FilterError.
        buffer_size
            Accepted and not used.

        Returns
        -------
        As of :meth:`search_nearest`, with no limit to the number of hits; distances, float64, are good to about 1e-6.
        """
        check_range("max_dist", max_dist, 2.0)
        check_count("buffer_size", buffer_size)
        how = match_metadata(self._metadata, metadata_filter) if metadata_filter else self._eligible
        if self.knn.kind == "ivf":
            # Candidates are ordered by distances good to a few per cent: with 17 times as many as there are hits, of
            # 100,000 hits 1 is missed (benchmarks/NOTES.md).
            how = how | {"probe_factor": 1e6, "rerank_factor": 16.0}
        elif self.knn.kind == "graph":
            how = how | {"ef_search": self.knn.n_rows}
        ids, distances = self._within(embeddings, max_dist, None, **how)
        return self._with_metadata(ids, [row.astype(np.float64) for row in distances])

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
    ) -> CentroidHits:
        """Find the nearest cells of the centroid of marked cells.

        Parameters
        ----------
        adata
            Cells aligned to `gene_order`, with log-normalised values in `X` and raw counts in `layers["counts"]`.
        centroid_key
            Column of obs that is 1 for the cells of the query.
        k, ef, max_dist
            As for :meth:`search_nearest`.
        qc, qc_params
            Whether to measure the coherence of the query, by `k_clusters` k-means centres, at most one for each cell.
        random_seed
            Seed of k-means.

        Returns
        -------
        centroid_embedding
            float32, shape (1, dim): summed counts, log-normalised as one cell, embedded.
        nn_idxs, nn_dists, metadata
            As of :meth:`search_nearest`.
        qc_stats
            `query_coherence`, 0 to 100: mean number of the 100 nearest of each centre of the cells that are hits.
        """
        search = partial(self.search_nearest, k=k, ef=ef, max_dist=max_dist)
        return self._of_marked(adata, centroid_key, search, qc_params if qc else None, random_seed)

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
    ) -> CentroidHits:
        """Find all cells within a distance of the centroid of marked cells.

        Parameters and results are those of :meth:`search_centroid_nearest` and :meth:`search_exhaustive`.
        """
        how: dict[str, Any] = {"max_dist": max_dist, "metadata_filter": metadata_filter, "buffer_size": buffer_size}
        search = partial(self.search_exhaustive, **how)
        return self._of_marked(adata, centroid_key, search, qc_params if qc else None, random_seed)

    def search_cluster_centroids_nearest(
        self,
        adata: AnnData,
        cluster_key: str,
        cluster_label: str | None = None,
        k: int = 10000,
        ef: int | None = None,
        skip_null: bool = True,
        max_dist: float | None = None,
    ) -> ClusterHits:
        """Find the nearest cells of the centroid of each cluster.

        Parameters
        ----------
        adata
            Cells with raw counts in `layers["counts"]`; genes are aligned first.
        cluster_key, cluster_label
            Column of obs with the clusters, and one of them. Default: all.
        k, ef, max_dist
            As for :meth:`search_nearest`.
        skip_null
            Whether to leave out cells without a cluster.

        Returns
        -------
        centroid_embeddings
            float32, shape (n_clusters, dim).
        cluster_idx
            The clusters, sorted.
        nn_idxs, nn_dists
            For each cluster, a list of one array.
        metadata
            As of :meth:`search_nearest`, with the column `centroid`.
        """
        search = partial(self.search_nearest, k=k, ef=ef, max_dist=max_dist)
        return self._of_clusters(adata, cluster_key, cluster_label, skip_null, search)

    def search_cluster_centroids_exhaustive(
        self,
        adata: AnnData,
        cluster_key: str,
        cluster_label: str | None = None,
        max_dist: float = 0.03,
        metadata_filter: Mapping[str, Any] | None = None,
        buffer_size: int = 100000,
        skip_null: bool = True,
    ) -> ClusterHits:
        """Find all cells within a distance of the centroid of each cluster.

        Parameters and results are those of :meth:`search_cluster_centroids_nearest` and :meth:`search_exhaustive`.
        """
        how: dict[str, Any] = {"max_dist": max_dist, "metadata_filter": metadata_filter, "buffer_size": buffer_size}
        search = partial(self.search_exhaustive, **how)
        return self._of_clusters(adata, cluster_key, cluster_label, skip_null, search)

    def _of_marked(
        self, adata: AnnData, key: str, search: Search, qc_params: Mapping[str, int] | None, random_seed: int
    ) -> CentroidHits:
        cells = marked_cells(adata, key, self.gene_order)
        centroid = self.get_embeddings(get_centroid(cells.layers["counts"]))
        numbers, distances, metadata = search(centroid)
        stats: dict[str, float] = {}
        if qc_params is not None:
            stats["query_coherence"] = self._coherence(cells.X, numbers[0], qc_params, random_seed)
        return centroid, numbers, distances, metadata, stats

    def _coherence(self, X: Any, hits: NDArray[np.int64], params: Mapping[str, int], seed: int) -> float:
        """Return the mean number of the 100 nearest of each k-means centre of the cells that are hits."""
        unknown = sorted(set(params) - set(K_CLUSTERS))
        if unknown:
            msg = f"qc_params takes 'k_clusters', got {unknown}."
            raise TypeError(msg)
        n_clusters = check_count("k_clusters", {**K_CLUSTERS, **params}["k_clusters"])
        cells = self.get_embeddings(X)
        cells = cells[is_directed(cells)]  # cells without counts are of no state
        # The call of the package, seed included: another k-means would give other centres, and another number.
        centres = kmeans(cells, min(n_clusters, len(cells)), seed=seed)[0]
        nearest, _ = self.get_nearest_neighbors(centres, 100)
        return float((np.isin(nearest, hits) & (nearest >= 0)).sum(axis=1).mean())

    def _of_clusters(self, adata: AnnData, key: str, label: str | None, skip_null: bool, search: Search) -> ClusterHits:
        centroids, clusters = get_cluster_centroids(adata, self.gene_order, key, label, skip_null=skip_null)
        embedded = self.get_embeddings(centroids)
        numbers, distances, metadata = search(embedded)
        metadata["centroid"] = np.array(clusters, dtype=object)[metadata["embedding_idx"]]
        numbers_of = {cluster: [row] for cluster, row in zip(clusters, numbers, strict=True)}
        distances_of = {cluster: [row] for cluster, row in zip(clusters, distances, strict=True)}
        return embedded, clusters, numbers_of, distances_of, metadata

    def _within(
        self, embeddings: ArrayLike, max_dist: float, limit: int | None, **how: Any
    ) -> tuple[Numbers, Distances]:
        """Return ids within a distance."""
        neighbors = self.knn.query_radius(np.atleast_2d(np.asarray(embeddings)), max_dist, limit=limit, **how)
        hits = [slice(*ends) for ends in pairwise(neighbors.starts)]
        return [neighbors.ids[rows] for rows in hits], [neighbors.distances[rows] for rows in hits]

    def _with_metadata(self, ids: Numbers, distances: Distances) -> Hits:
        """Return hits by number, their distances, and a frame of all of them."""
        numbers = [self._numbering.numbers_of(row) for row in ids]
        frame = self._metadata.rows(np.concatenate(ids), np.concatenate(numbers))
        frame["embedding_idx"] = np.repeat(np.arange(len(ids)), [len(row) for row in ids])
        frame["query_nn_dist"] = np.concatenate(distances)
        return numbers, distances, frame
