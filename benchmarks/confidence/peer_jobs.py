"""Run the peers on the cases in a process of another interpreter, and store their predictions."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cases
import handover
import methods
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import anndata as ad

SETS = (("LDA", "kNN on PCA", "NCA"), ("logistic regression", "CellTypist"))
"""Peers that read the same genes, and run in sequence."""


class Limits(NamedTuple):
    """Interpreter and limits of the peers."""

    python: str
    limit: float  # seconds for a training with its predictions
    memory: float  # GB of address space


def load(case: cases.Case, folder: Path, cap: int) -> pd.DataFrame:
    """Return the predictions of the peers for all queries of a case: two columns per peer, label and confidence.

    A peer that failed, or has not run yet, has none.
    """
    columns = {}
    for first in sorted((folder / f"peers {cap}").glob(f"{case.name}, * 0.npy")):
        names = first.name.removeprefix(f"{case.name}, ").removesuffix(" 0.npy")
        parts = [path_of(first.with_name(f"{case.name}, {names}"), n) for n in range(1 + case.other_tissue)]
        if not all(part.exists() for part in parts):
            continue
        table = np.concatenate([np.load(part) for part in parts])
        for place, name in enumerate(names.split("+")):
            columns[name] = table[:, 2 * place]
            columns[f"{name} confidence"] = table[:, 2 * place + 1].astype(float)
    return pd.DataFrame(columns)


def predict(
    cells: dict[str, ad.AnnData],
    case: cases.Case,
    names: list[str],
    folder: Path,
    limits: Limits,
    *,
    cap: int = 0,
) -> None:
    """Predict the queries of a case by the named peers, unless the predictions are in the folder."""
    sets = [tuple(name for name in names if name in peers) for peers in SETS]
    paths = [folder / f"peers {cap}" / f"{case.name}, {'+'.join(peers)}" for peers in sets]
    numbers = range(1 + case.other_tissue)
    left = [at for at, peers in enumerate(sets) if peers and not all(path_of(paths[at], n).exists() for n in numbers)]
    if left:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        work = [(sets[at], [str(path_of(paths[at], n)) for n in numbers]) for at in left]
        _run(cells, case, work, limits, cap)


def path_of(path: Path, query: int) -> Path:
    """Return the path of the predictions for one of the queries."""
    return path.with_name(f"{path.name} {query}.npy")


def _run(
    cells: dict[str, ad.AnnData],
    case: cases.Case,
    work: list[tuple[tuple[str, ...], list[str]]],
    limits: Limits,
    cap: int,
) -> None:
    """Write the cells, train and predict in the worker, and print the seconds and memory."""
    with tempfile.TemporaryDirectory() as folder:
        train, queries = handed_over(cells, case, cap)
        written = {"label_key": "common"}
        written["train"] = [_written(adata, Path(folder) / f"train-{n}.h5ad") for n, adata in enumerate(train)]
        written["tests"] = [_written(adata, Path(folder) / f"test-{n}.h5ad") for n, adata in enumerate(queries)]
        tasks = [
            {
                "method": "peer_predictions",
                "sets": [0],
                "predictions": [paths],
                "options": {"seed": 0, "names": list(peers)},
            }
            for peers, paths in work
        ]
        job = {"sets": [written], "tasks": tasks, "limit": limits.limit, "memory": int(limits.memory * 1e9)}
        os.environ["PYTHONPATH"] = str(Path(__file__).parent)
        for (peers, _), took in zip(work, methods.run(job, Path(folder), limits.python, threads=1), strict=True):
            print(f"{', '.join(peers)}: {case.name} {took}", file=sys.stderr, flush=True)


def handed_over(cells: dict[str, ad.AnnData], case: cases.Case, cap: int) -> tuple[list[ad.AnnData], list[ad.AnnData]]:
    """Return training cells and queries with their shared genes, chosen as for the whole test."""
    queries = cases.queries(cells, case)
    whole = case._replace(held="")
    files, genes = handover.shared(cases.training(cells, whole), cases.queries(cells, whole)[0])
    for adata in queries[1:]:
        genes = sorted(set(genes) & handover.measured(adata))
    train = cases.training(cells, case)
    capped = cases.capped({name: train[name] for name in files if name in train}, cap)
    return [handover.aligned(adata, genes) for adata in capped.values()], [handover.aligned(q, genes) for q in queries]


def _written(adata: ad.AnnData, path: Path) -> str:
    """Write cells with the columns that peers read."""
    adata.obs = adata.obs[["label", "common", "study"]].astype(object)
    adata.write_h5ad(path)
    return str(path)
