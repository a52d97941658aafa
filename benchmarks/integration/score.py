"""Score embeddings by scib-metrics, in an environment that has it.

    python score.py FOLDER [FOLDER ...]

`FOLDER/embeddings.npz` has `study`, `label`, `PCA`, and other embeddings by name, of the same cells. `FOLDER/NAME.json`
gets the metrics of each, and `Bio conservation`, `Batch correction` and `Total` (.6 and .4), as the package computes
them. Its settings are the defaults, but neighbours are exact.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scib_metrics.benchmark import BatchCorrection, Benchmarker, BioConservation
from scib_metrics.nearest_neighbors import NeighborsResults
from sklearn.neighbors import NearestNeighbors

NOT_INTEGRATED = "PCA"
"""Embedding with which the regression on principal components compares."""


def main() -> None:
    """Score the sets in one process, which compiles the metrics once."""
    warnings.simplefilter("ignore")
    for folder in sys.argv[1:]:
        score(Path(folder))


def score(folder: Path) -> None:
    """Score all embeddings of a folder that have no scores."""
    arrays = np.load(folder / "embeddings.npz")
    obs = pd.DataFrame({key: pd.Categorical(arrays[key]) for key in ("study", "label")})
    obs.index = obs.index.astype(str)
    names = [name for name in arrays.files if name not in obs]
    left = [name for name in names if not (folder / f"{name}.json").exists()]
    adata = ad.AnnData(obs=obs, obsm={name: arrays[name].astype(np.float32) for name in {*left, NOT_INTEGRATED}})
    for name in left:
        benchmark = Benchmarker(adata, "study", "label", [name], BioConservation(), BatchCorrection(), NOT_INTEGRATED,
                                progress_bar=False)  # fmt: skip
        benchmark.prepare(exact_neighbors)
        benchmark.benchmark()
        scores = benchmark.get_results().loc[name].astype(float).to_dict()
        (folder / f"{name}.json").write_text(json.dumps(scores, indent=1))


def exact_neighbors(X: np.ndarray, k: int) -> NeighborsResults:
    """Return the k nearest cells by Euclidean distance; the cell itself is the first."""
    distances, indices = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(X).kneighbors(X)
    return NeighborsResults(indices=indices, distances=distances)


if __name__ == "__main__":
    main()
