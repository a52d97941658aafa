"""What the package has in `scimilarity.utils`; called so, because only the first word of an import is to change."""

from scim.scimilarity.classes.utils._align import align_dataset
from scim.scimilarity.classes.utils._centroids import get_centroid, get_cluster_centroids, get_dist2centroid
from scim.scimilarity.classes.utils._filter_cells import filter_cells
from scim.scimilarity.classes.utils._lognorm import lognorm_counts
from scim.scimilarity.classes.utils._pseudobulk import pseudobulk_anndata
from scim.scimilarity.classes.utils._symbols import consolidate_duplicate_symbols, convert_id2symbol

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
