"""Label by Fisher's linear discriminant with a shrunk covariance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from peers._features import labels, queries, reference

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np


def predict(train: list[ad.AnnData], tests: list[ad.AnnData], label_key: str, *, seed: int) -> list[np.ndarray]:  # noqa: ARG001  (nothing is random)
    together = reference(train)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    model.fit(together.X.toarray(), labels(together, label_key))
    return [model.predict(test.X.toarray()) for test in queries(tests, together)]
