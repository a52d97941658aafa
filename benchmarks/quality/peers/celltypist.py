"""Label by a CellTypist model trained on these cells, without majority voting, which needs clusters of the query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import celltypist

from peers._features import labels, queries, reference

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np


def predict(train: list[ad.AnnData], tests: list[ad.AnnData], label_key: str, *, seed: int) -> list[np.ndarray]:  # noqa: ARG001  (CellTypist sets its seed)
    together = reference(train, top=False)
    # CellTypist's feature selection (the 300 best genes of a label) helps with many genes.
    many = together.n_vars > 4000
    model = celltypist.train(
        together, labels(together, label_key), feature_selection=many, n_jobs=1, max_iter=300, check_expression=False
    )
    predictions = []
    for test in queries(tests, together):
        found = celltypist.annotate(test, model=model, majority_voting=False)
        predictions.append(found.predicted_labels["predicted_labels"].astype(str).to_numpy())
    return predictions
