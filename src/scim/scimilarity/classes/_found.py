"""What the searches of `CellQuery` return: tuples, as they always were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Arrays: TypeAlias = list[NDArray[Any]]
    """An array for each query."""

    Found: TypeAlias = tuple[list[NDArray[np.int64]], Arrays, pd.DataFrame]
    """Numbers of the hits, their distances, their metadata."""

    CentroidFound: TypeAlias = tuple[
        NDArray[np.float32], list[NDArray[np.int64]], Arrays, pd.DataFrame, dict[str, float]
    ]
    """Embedding, numbers, distances, metadata, quality."""

    ClusterFound: TypeAlias = tuple[
        NDArray[np.float32], list[str], dict[str, list[NDArray[np.int64]]], dict[str, Arrays], pd.DataFrame
    ]
    """Embeddings, clusters, numbers and distances by cluster, metadata."""

K_CLUSTERS = {"k_clusters": 10}
"""How coherence is measured unless told otherwise."""
