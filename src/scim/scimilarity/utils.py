"""The functions of `scimilarity.utils`, under the name that scripts import them by."""

from scim.scimilarity._centroids import get_centroid, get_cluster_centroids, get_dist2centroid, pseudobulk_anndata
from scim.scimilarity._counts import filter_cells, lognorm_counts
from scim.scimilarity._genes import align_dataset, consolidate_duplicate_symbols, convert_id2symbol

__all__ = [
    "align_dataset",
    "consolidate_duplicate_symbols",
    "convert_id2symbol",
    "filter_cells",
    "get_centroid",
    "get_cluster_centroids",
    "get_dist2centroid",
    "lognorm_counts",
    "pseudobulk_anndata",
]
