"""Predict labels with confidences by the peers, in the worker of benchmarks/quality: they are trained for every case.

`predict` returns for each query a table of text, two columns per peer: the label, and the highest probability. For NCA
the second is minus the distance to the nearest training cell. This module does not need scim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from peers._features import Components, labels, queries, reference
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NeighborhoodComponentsAnalysis

if TYPE_CHECKING:
    import anndata as ad

VARIABLE = ("LDA", "kNN on PCA", "NCA")
"""Peers that read the most variable genes."""

NCA_CELLS = 3000


def predict(
    train: list[ad.AnnData], tests: list[ad.AnnData], label_key: str, *, seed: int, names: list[str]
) -> list[np.ndarray]:
    """Train the named peers on the same genes, with the settings of benchmarks/quality."""
    together = reference(train, top=names[0] in VARIABLE)
    query_cells, known = queries(tests, together), labels(together, label_key)
    found: list[list[np.ndarray]] = [[] for _ in tests]
    components = Components(together, 50, seed) if {"kNN on PCA", "NCA"} & set(names) else None
    for name in names:
        if name == "CellTypist":
            predictions = celltypist_labels(together, known, query_cells)
        elif components is not None and name != "LDA":
            predictions = neighbours(name, components, known, query_cells, seed)
        else:
            predictions = linear(name, together, known, query_cells, seed)
        for table, columns in zip(found, predictions, strict=True):
            table += [np.asarray(column).astype(str) for column in columns]
    return [np.stack(table, axis=1) for table in found]


def linear(
    name: str, together: ad.AnnData, known: np.ndarray, query_cells: list[ad.AnnData], seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return labels and probabilities of Fisher's discriminant, or of logistic regression."""
    if name == "LDA":
        model: Any = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        model.fit(together.X.toarray(), known)
        return [best(model, adata.X.toarray()) for adata in query_cells]
    model = LogisticRegression(max_iter=300, random_state=seed).fit(together.X, known)
    return [best(model, adata.X) for adata in query_cells]


def neighbours(
    name: str, components: Components, known: np.ndarray, query_cells: list[ad.AnnData], seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return labels of the 15 nearest cells with their share of the weights, or the nearness after NCA."""
    points, X = components.train, [components(adata) for adata in query_cells]
    if name == "NCA":
        drawn = even(known, np.random.default_rng(seed))
        nca = NeighborhoodComponentsAnalysis(min(20, points.shape[1]), init="pca", max_iter=30, random_state=seed)
        nca.fit(points[drawn], known[drawn])
        points, X = nca.transform(points), [nca.transform(rows) for rows in X]
    model = KNeighborsClassifier(15, weights="distance").fit(points, known)
    if name == "NCA":
        return [(model.predict(rows), -model.kneighbors(rows, 1)[0][:, 0]) for rows in X]
    return [best(model, rows) for rows in X]


def celltypist_labels(
    together: ad.AnnData, known: np.ndarray, query_cells: list[ad.AnnData]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return labels and probabilities of a CellTypist model of these cells, without majority voting of clusters."""
    import celltypist  # noqa: PLC0415  (the other peers do not need it)

    # CellTypist's feature selection (the 300 best genes of a label) helps with many genes.
    many = together.n_vars > 4000
    model = celltypist.train(together, known, feature_selection=many, n_jobs=1, max_iter=300, check_expression=False)
    predictions = []
    for adata in query_cells:
        found = celltypist.annotate(adata, model=model, majority_voting=False)
        names = found.predicted_labels["predicted_labels"].astype(str).to_numpy()
        predictions.append((names, found.probability_matrix.max(axis=1).to_numpy()))
    return predictions


def best(model: Any, X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the most probable label of each row, and its probability."""
    p = model.predict_proba(X)
    return model.classes_[p.argmax(axis=1)], p.max(axis=1)


def even(known: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw cells for NCA, which stores all pairwise distances, from every label in turn."""
    order = random.permutation(len(known))
    _, codes = np.unique(known[order], return_inverse=True)
    turn = np.zeros(len(known), dtype=np.intp)
    for code in range(codes.max() + 1):
        turn[codes == code] = np.arange((codes == code).sum())
    return order[np.argsort(turn, kind="stable")[:NCA_CELLS]]
