"""Label by multinomial logistic regression on log-normalised counts, C = 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.linear_model import LogisticRegression

from peers._features import labels, queries, reference

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np


def predict(train: list[ad.AnnData], tests: list[ad.AnnData], label_key: str, *, seed: int) -> list[np.ndarray]:
    together = reference(train, top=False)
    model = LogisticRegression(max_iter=300, random_state=seed).fit(together.X, labels(together, label_key))
    return [model.predict(test.X) for test in queries(tests, together)]
