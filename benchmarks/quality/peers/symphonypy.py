"""Label by Symphony: Harmony over the studies, reference mapping of the query, and kNN labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import scanpy as sc
import symphonypy as sp

from peers._features import queries, reference

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np


def predict(train: list[ad.AnnData], tests: list[ad.AnnData], label_key: str, *, seed: int) -> list[np.ndarray]:
    together = reference(train)
    together.var["highly_variable"] = True
    sc.pp.scale(together, max_value=10)
    sc.pp.pca(together, n_comps=min(30, together.n_vars - 1), zero_center=False, random_state=seed)
    sp.pp.harmony_integrate(together, key="study", verbose=False, random_seed=seed)
    predictions = []
    for test in queries(tests, together):
        sp.tl.map_embedding(test, together, key=None)
        sp.tl.transfer_labels_kNN(test, together, label_key)
        predictions.append(test.obs[label_key].astype(str).to_numpy())
    return predictions
