"""Time to rank a million cells for a state: search and similarity of all cells, beside the signature's score.

    python benchmarks/state/speed.py MODEL [--rows 1e6 1e7] [--scored 10000 20000 40000]

Embeddings of the studies are drawn with replacement and moved by noise of .02 in each number; their expression is drawn
alike. `score_genes` needs the whole matrix: it is measured on up to 40,000 cells and extended to a million by the
slope, because each of its steps (means of all genes, sums of fifty and of their control genes) reads every value once.
Search and score run in one process, in one thread; CPU seconds of the fastest round.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import cells
import numpy as np
import pandas as pd
import scanpy as sc
import signature_scores
import states

import scim

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

STATE = next(state for state in states.STATES if state.name == "macrophage of the gut")
GENES = 8000
"""Files with fewer genes are not drawn from."""
NOISE = 0.02
ROUNDS = 5


def main() -> None:
    """Print the table."""
    arguments = parsed()
    warnings.filterwarnings("ignore")
    scim.settings.n_threads, scim.settings.progress = 1, False
    studies = {file: adata for file, adata in cells.read(arguments.folder).items() if adata.n_vars >= GENES}
    embeddings = embedded(studies, scim.model.load(arguments.model))
    obs = pd.concat([adata.obs for adata in studies.values()])
    query = embeddings[states.is_query(obs, STATE)].mean(axis=0, keepdims=True)
    query /= np.linalg.norm(query)
    rows = [*scored(studies, arguments.scored)]
    for n in map(int, arguments.rows):
        rows += searched(resampled(embeddings, n), query)
    print(pd.DataFrame(rows, columns=["job", "cells", "seconds"]).to_markdown(index=False, floatfmt=".5g"))


def embedded(studies: cells.Cells, model: scim.model.Model) -> NDArray[np.float32]:
    """Return the embeddings of all cells."""
    parts = []
    for adata in studies.values():
        scim.tl.embed(adata, model=model)
        parts.append(adata.obsm["X_scim"])
    return np.concatenate(parts)


def resampled(X: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return n unit rows that resemble those of X, 262,144 at a time."""
    random = np.random.default_rng(0)
    out = np.empty((n, X.shape[1]), dtype=np.float32)
    for start in range(0, n, 2**18):
        part = out[start : start + 2**18]
        random.standard_normal(out=part, dtype=np.float32)
        part *= NOISE
        part += X[random.integers(len(X), size=len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return out


def searched(X: NDArray[np.float32], query: NDArray[np.float32]) -> list[tuple[str, int, float]]:
    """Return the time of a search for 100 and 10,000 hits, and of the similarity of all cells, best of five rounds."""
    began = time.process_time()
    index = scim.index.build(X, rng=0)
    built = time.process_time() - began
    return [
        ("index, built once", len(X), built),
        *((f"search, {k:,} hits", len(X), timed(lambda k=k: index.query(query, k))) for k in (100, 10_000)),
        ("similarity of all cells", len(X), timed(lambda: X @ query[0])),
    ]


def scored(studies: cells.Cells, sizes: list[int]) -> list[tuple[str, int, float]]:
    """Return the time of `score_genes` by number of cells, and that of a million by the slope."""
    values = signature_scores.lognormalised(studies)
    genes = signature_scores.signature(values, STATE)
    joined = ad.concat(values.values(), join="outer", fill_value=0)
    present = [gene for gene in genes if gene in joined.var_names]
    random, seconds = np.random.default_rng(0), []
    for n in sizes:
        drawn = joined[random.integers(joined.n_obs, size=n)].copy()
        drawn.obs_names_make_unique()
        seconds.append(timed(lambda drawn=drawn: sc.tl.score_genes(drawn, present, random_state=0), rounds=2))
    slope, start = np.polyfit(sizes, seconds, 1)
    rows = [("score_genes", n, found) for n, found in zip(sizes, seconds, strict=True)]
    return [*rows, ("score_genes, by the slope", 1_000_000, start + 1e6 * slope)]


def timed(job: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the CPU seconds of the fastest round: the machine may be busy."""
    best = np.inf
    for _ in range(rounds):
        began = time.process_time()
        job()
        best = min(best, time.process_time() - began)
    return best


def parsed() -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", nargs="?", type=Path, default=cells.data.FOLDER)
    parser.add_argument("--rows", nargs="+", type=float, default=[1e6])
    parser.add_argument("--scored", nargs="+", type=int, default=[10_000, 20_000, 40_000])
    return parser.parse_args()


if __name__ == "__main__":
    main()
