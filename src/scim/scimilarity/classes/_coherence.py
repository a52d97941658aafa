"""Query coherence as the package measures it: how many of the neighbours of the parts are hits of the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.vq import kmeans

from scim._core.checks import check_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from numpy.typing import NDArray

_N_NEAREST = 100


def query_coherence(
    cells: NDArray[np.float32],
    hits: NDArray[np.int64],
    nearest: Callable[[NDArray[np.float32], int], NDArray[np.int64]],
    params: Mapping[str, Any],
    random_seed: int,
) -> float:
    """Return the mean number of the 100 nearest of each k-means centre of some cells that are hits, 0 to 100.

    Parameters
    ----------
    cells
        (n, dim) embeddings of the cells of the query.
    hits
        (n_hits,) the hits of the query.
    nearest
        Finds the k nearest of embeddings, (n, k), -1 = none.
    params
        `k_clusters`, by default 10; as many as there are cells, if these are fewer.
    random_seed
        Of k-means.

    Raises
    ------
    TypeError
        `params` has something else.
    """
    unknown = sorted(set(params) - {"k_clusters"})
    if unknown:
        msg = f"qc_params takes 'k_clusters', got {unknown}."
        raise TypeError(msg)
    n_clusters = min(check_count("k_clusters", params.get("k_clusters", 10)), len(cells))
    # The package's own call, seed and all: another k-means would give other centres, and another number.
    centres = kmeans(cells, n_clusters, seed=random_seed)[0]
    found = nearest(centres, _N_NEAREST)
    inside = np.isin(found, hits) & (found >= 0)
    return float(inside.sum(axis=1).mean())
