"""Measure a model on the held-out studies: labels, embedding, and what its decoder gets right of each gene."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).resolve().parents[1] / "quality"))

import scores
from fixed._atlas import annotated

import scim
from scim.training.evaluation import embedding_scores

if TYPE_CHECKING:
    from collections.abc import Mapping

    import anndata as ad
    from numpy.typing import NDArray

    Cells = Mapping[str, ad.AnnData]

NEIGHBORS = 15
MOST_CELLS = 3000
"""Held-out cells whose embedding is measured: distances of all pairs."""
DENSE = 500


def measure(model: scim.model.Model, training: Cells, held_out: Cells, *, full: bool) -> dict[str, Any]:
    """Return the measures of each held-out study, of the embedding of all, and of the decoder if there is one.

    Labels are compared at the common level of blood, with a descendant of the true term as right, over the cells of
    types that the training has. `full`: also by an atlas of the training cells and `scim.tl.annotate`, and by gene.
    """
    seen = {term for adata in training.values() for term in adata.obs["common"]}
    known, new = embed(model, training), embed(model, held_out)
    predicted = nearest_labels(new, known, np.concatenate([adata.obs["common"] for adata in training.values()]))
    studies = np.concatenate([adata.obs["study"] for adata in held_out.values()])
    truth = pd.concat([adata.obs["common"] for adata in held_out.values()]).astype(object)
    by_label = {"kNN": predicted}
    if full:
        tests = [adata.copy() for adata in held_out.values()]
        by_label["annotate"] = np.concatenate(annotated(model, list(training.values()), tests, "label"))
    found: dict[str, Any] = {"cpu_seconds": model.metadata.get("cpu_seconds"), "studies": {}}
    for study in sorted(set(studies)):
        rows = studies == study
        labels = {way: scores.score(truth[rows], labels[rows], seen) for way, labels in by_label.items()}
        found["studies"][study] = {
            f"{way} {what}": getattr(value, what) for way, value in labels.items() for what in ("accuracy", "macro_f1")
        }
    found["embedding"] = embedding_scores(new, truth.to_numpy(), studies, max_cells=MOST_CELLS, rng=0)
    if model.decoder is not None:
        chosen = {"held out": held_out} | ({"training": training} if full else {})
        errors = {name: decoding(model, cells) for name, cells in chosen.items()}
        found["error"] = {name: value.error / value.power for name, value in errors.items()}
        if full:
            found["error"]["held out, by the means of training"] = error_of_means(*(errors[name] for name in chosen))
            found["genes"] = {name: value.genes.to_dict("list") for name, value in errors.items()}
    return found


def embed(model: scim.model.Model, cells: Cells) -> NDArray[np.float32]:
    """Return the embeddings of all cells, file after file."""
    parts = []
    for adata in cells.values():
        counts = scim.pp.find_counts(adata)
        parts.append(model.embed(counts, scim.pp.match_genes(counts.var, model.genes)))
    return np.concatenate(parts)


def nearest_labels(query: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the most common label of the 15 nearest training cells; of equal ones the first by name."""
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    ids = scim.index.build(reference, kind="exact").query(query, NEIGHBORS).ids
    votes = np.stack([np.bincount(row, minlength=len(names)) for row in codes[ids]])
    return names[votes.argmax(axis=1)].astype(object)


def error_of_means(held_out: Decoding, training: Decoding) -> float:
    """Return the normalised error of one value for each gene, its mean in the training cells."""
    both = held_out.genes.merge(training.genes[["gene", "mean"]], on="gene", suffixes=("", "_training"))
    offset, n = both["mean"] - both["mean_training"], both["n_cells"]
    return float((n * (both["variance_of_all"] + offset**2)).sum() / held_out.power)


class Decoding(NamedTuple):
    """The errors of a decoder; the normalised mean squared error is `error / power`."""

    error: float
    power: float
    genes: pd.DataFrame
    """`gene`, and over all cells of the studies that measured it: `mean` and `variance_of_all` of its log-normalised
    values; within studies their `variance`, the `explained` share of it (1 - squared error / sum of squares around the
    mean of the study), and the `correlation` of decoded and true values."""


def decoding(model: scim.model.Model, cells: Cells) -> Decoding:
    """Measure the decoder by gene, each study around its own mean: an offset of a study is an error too."""
    sums = {name: np.zeros(len(model.genes)) for name in ("n", "x", "square", "error", "within", "decoded", "both")}
    for adata in cells.values():
        counts = scim.pp.find_counts(adata)
        genes = scim.pp.match_genes(counts.var, model.genes)
        for study in sorted(set(adata.obs["study"])):
            _add_study(sums, model, counts, genes, np.flatnonzero(adata.obs["study"] == study))
    n = np.maximum(sums["n"], 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        frame = pd.DataFrame({
            "gene": scim.pp.gene_symbols(model.genes),
            "n_cells": sums["n"],
            "mean": sums["x"] / n,
            "variance_of_all": sums["square"] / n - (sums["x"] / n) ** 2,
            "variance": sums["within"] / n,
            "explained": 1 - sums["error"] / sums["within"],
            "correlation": sums["both"] / np.sqrt(sums["within"] * sums["decoded"]),
        })  # fmt: skip
    return Decoding(float(sums["error"].sum()), float(sums["square"].sum()), frame[sums["within"] > 0])


def _add_study(
    sums: dict[str, NDArray[np.float64]],
    model: scim.model.Model,
    counts: scim.pp.Counts,
    genes: scim.pp.GeneMap,
    rows: NDArray[np.int64],
) -> None:
    """Add the cells of a study to the sums of each gene that it measured."""
    X = scim.pp.lognorm_rows(counts, genes, rows, target_sum=model.config.target_sum)
    Z = model.encode(X, observed=genes.observed)
    total = {name: np.zeros(X.shape[1]) for name in ("x", "square", "error", "y", "yy", "xy")}
    for start in range(0, len(rows), DENSE):
        x = X[start : start + DENSE].toarray().astype(np.float64)
        y = model.decode(Z[start : start + DENSE]).astype(np.float64)
        parts = {"x": x, "square": x**2, "error": (x - y) ** 2, "y": y, "yy": y**2, "xy": x * y}
        for name, values in parts.items():
            total[name] += values.sum(axis=0)
    n = len(rows)
    within = total["square"] - total["x"] ** 2 / n
    decoded, both = total["yy"] - total["y"] ** 2 / n, total["xy"] - total["x"] * total["y"] / n
    total |= {"n": np.full(X.shape[1], float(n)), "within": within, "decoded": decoded, "both": both}
    for name in sums:
        sums[name] += np.where(genes.observed, total[name], 0)
