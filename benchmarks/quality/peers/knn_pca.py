"""Label by the 15 nearest training cells in 50 principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.neighbors import KNeighborsClassifier

from peers._features import Components, labels, queries, reference

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np


def predict(train: list[ad.AnnData], tests: list[ad.AnnData], label_key: str, *, seed: int) -> list[np.ndarray]:
    together = reference(train)
    components = Components(together, 50, seed)
    model = KNeighborsClassifier(15, weights="distance").fit(components.train, labels(together, label_key))
    return [model.predict(components(test)) for test in queries(tests, together)]
