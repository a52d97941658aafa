"""Label by the 15 nearest training cells after neighbourhood components analysis of 50 principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.neighbors import KNeighborsClassifier, NeighborhoodComponentsAnalysis

from peers._features import Components, labels, queries, reference

if TYPE_CHECKING:
    import anndata as ad

N_CELLS = 3000
"""Number of training cells of NCA, which stores all pairwise distances; drawn evenly from the labels."""


def predict(train: list[ad.AnnData], tests: list[ad.AnnData], label_key: str, *, seed: int) -> list[np.ndarray]:
    together = reference(train)
    components, known = Components(together, 50, seed), labels(together, label_key)
    drawn = _even(known, np.random.default_rng(seed))
    nca = NeighborhoodComponentsAnalysis(min(20, components.train.shape[1]), init="pca", max_iter=30, random_state=seed)
    nca.fit(components.train[drawn], known[drawn])
    model = KNeighborsClassifier(15, weights="distance").fit(nca.transform(components.train), known)
    return [model.predict(nca.transform(components(test))) for test in queries(tests, together)]


def _even(known: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw `N_CELLS` cells from every label in turn."""
    order = random.permutation(len(known))
    _, codes = np.unique(known[order], return_inverse=True)
    turn = np.zeros(len(known), dtype=np.intp)
    for code in range(codes.max() + 1):
        turn[codes == code] = np.arange((codes == code).sum())
    return order[np.argsort(turn, kind="stable")[:N_CELLS]]
