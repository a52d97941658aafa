from __future__ import annotations

import numpy as np


def clusters(n, dim=16, *, seed=0, n_clusters=12):
    """Rows around a few centroids, of any length."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_clusters, dim))
    return (centres[rng.integers(n_clusters, size=n)] + 0.4 * rng.normal(size=(n, dim))).astype(np.float32)
