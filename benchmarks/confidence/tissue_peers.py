"""Predict the tissues by other methods: trained on the cells of each case, or with a classifier that never changes.

LDA, logistic regression, kNN on PCA and CellTypist (peer_predictions.py) learn the terms of the common level, on the
genes that the queries share with the training studies, the most variable ones; actinn-jax brings a classifier of 324
human types (pan_human.py). Their highest probability is the confidence; 1 minus it the novelty.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import handover
import methods
import numpy as np
import pandas as pd
import scanpy as sc
import tissue_cases
from cases import capped
from tissue_panels import WHOLE
from tissue_scim import Cache, read, say, store

if TYPE_CHECKING:
    from peer_jobs import Limits

TRAINED = (("LDA", "kNN on PCA"), ("logistic regression", "CellTypist"))
"""Peers that run in sequence in one process."""
PAN_HUMAN = "actinn-jax"
NAMES = (*(name for names in TRAINED for name in names), PAN_HUMAN)
N_GENES = 3000


def load(
    cache: Cache, name: str, least: float, case: tissue_cases.Case, query: str, variant: str
) -> pd.DataFrame | None:
    """Return stored predictions of a peer, in the columns of scim's; unknown below a confidence of `least`."""
    frame = read(cache.predictions(name, case, query, variant))
    if frame is None:
        return None
    frame = frame.assign(level=frame["label"], level_confidence=frame["confidence"], novelty=1 - frame["confidence"])
    return frame.assign(limited=frame["label"].where(frame["confidence"] >= least, ""))


def predict(cells: tissue_cases.Cells, case: tissue_cases.Case, cache: Cache, limits: Limits, cap: int) -> None:
    """Predict the queries of a case by the trained peers, unless the predictions are in the cache."""
    sharing: dict[str, list[str]] = {}  # queries of other gene panels are trained for separately
    for name in case.queries:
        panel = name if name in tissue_cases.BRAIN else "one panel"
        sharing.setdefault(panel, []).append(name)
    for names in sharing.values():
        left = [peers for peers in TRAINED if not cache.predictions(peers[-1], case, names[-1], WHOLE).exists()]
        if left:
            with tempfile.TemporaryDirectory() as folder:
                _run(_handed_over(cells, case, names, cap), case, names, left, cache, limits, Path(folder))


def _handed_over(
    cells: tissue_cases.Cells, case: tissue_cases.Case, names: list[str], cap: int
) -> tuple[list[ad.AnnData], list[ad.AnnData]]:
    """Return training cells and queries with the most variable of their shared genes."""
    queries = [tissue_cases.query(cells, name) for name in names]
    train = tissue_cases.training(cells, case)
    files, genes = handover.shared(train, queries[0])
    genes = sorted(set(genes).intersection(*(handover.measured(adata) for adata in queries)))
    kept = [handover.aligned(adata, genes) for adata in capped({file: train[file] for file in files}, cap).values()]
    if len(genes) > N_GENES:
        together = ad.concat(kept, index_unique="-")
        sc.pp.normalize_total(together, target_sum=1e4)
        sc.pp.log1p(together)
        sc.pp.highly_variable_genes(together, n_top_genes=N_GENES)
        genes = together.var_names[together.var["highly_variable"]].tolist()
        kept = [adata[:, genes].copy() for adata in kept]
    return kept, [handover.aligned(adata, genes) for adata in queries]


def _run(
    cells: tuple[list[ad.AnnData], list[ad.AnnData]],
    case: tissue_cases.Case,
    names: list[str],
    left: list[tuple[str, ...]],
    cache: Cache,
    limits: Limits,
    folder: Path,
) -> None:
    """Train and predict in the worker of benchmarks/quality, and store a table for each peer and query."""
    written: dict[str, object] = {"label_key": "common"}
    for part, of_part in zip(("train", "tests"), cells, strict=True):
        written[part] = [write(adata, folder / f"{part} {n}.h5ad") for n, adata in enumerate(of_part)]
    paths = {peers: [str(folder / f"{peers[0]} {n}.npy") for n in range(len(names))] for peers in left}
    tasks = [
        {"method": "peer_predictions", "sets": [0], "predictions": [paths[peers]],
         "options": {"seed": 0, "names": list(peers)}} for peers in left
    ]  # fmt: skip
    job = {"sets": [written], "tasks": tasks, "limit": limits.limit, "memory": int(limits.memory * 1e9)}
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    for peers, took in zip(left, methods.run(job, folder, limits.python, threads=1), strict=True):
        say(f"{', '.join(peers)}: {case.name} {took}")
        for query, adata, path in zip(names, cells[1], paths[peers], strict=True):
            table = np.load(path) if Path(path).exists() else np.empty((0, 2 * len(peers)))
            for place, name in enumerate(peers if len(table) else ()):
                found = {"label": table[:, 2 * place], "confidence": table[:, 2 * place + 1].astype(float)}
                store(pd.DataFrame(found), adata.obs_names, cache.predictions(name, case, query, WHOLE))


def write(adata: ad.AnnData, path: Path) -> str:
    """Write cells with the columns that peers read."""
    adata.obs = adata.obs[["label", "common", "study"]].astype(object).fillna("")
    adata.write_h5ad(path)
    return str(path)


def predict_pan_human(cells: tissue_cases.Cells, cache: Cache, python: str) -> None:
    """Predict all queries by the classifier of actinn-jax; no study is left out of it."""
    for name in tissue_cases.QUERIES:
        of_query = [case for case in tissue_cases.CASES.values() if name in case.queries]
        paths = [cache.predictions(PAN_HUMAN, case, name, WHOLE) for case in of_query]
        if all(path.exists() for path in paths):
            continue
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            adata = tissue_cases.query(cells, name)
            query = write(handover.aligned(adata, sorted(handover.measured(adata))), Path(folder) / "query.h5ad")
            script = Path(__file__).with_name("pan_human.py")
            subprocess.run([python, str(script), query, str(paths[0])], check=True)
        for path in paths[1:]:
            path.write_bytes(paths[0].read_bytes())
        say(f"{PAN_HUMAN}: {name}")
