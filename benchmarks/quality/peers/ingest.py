"""Label by `scanpy.tl.ingest`: principal components of the training cells, and kNN labels by pynndescent.

ingest centres a query at the query's mean, so pancreas cells are placed between blood and pancreas:
`--references apart` is the fairer comparison.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import scanpy as sc

from peers._features import labels, queries, reference

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np

if tuple(map(int, version("pynndescent").split(".")[:2])) >= (0, 6):
    msg = "scanpy.tl.ingest needs pynndescent < 0.6"
    raise ImportError(msg)


def predict(train: list[ad.AnnData], tests: list[ad.AnnData], label_key: str, *, seed: int) -> list[np.ndarray]:
    together = reference(train)
    together.obs[label_key] = labels(together, label_key)
    together.obs[label_key] = together.obs[label_key].astype("category")
    sc.pp.pca(together, n_comps=min(50, together.n_vars - 1), random_state=seed)
    sc.pp.neighbors(together, random_state=seed)
    predictions = []
    for test in queries(tests, together):
        sc.tl.ingest(test, together, obs=label_key, embedding_method="pca")
        predictions.append(test.obs[label_key].astype(str).to_numpy())
    return predictions
