"""Compare embedding, annotation and the search of a cell state with the published package, in one run.

    .scimilarity/bin/python benchmarks/scimilarity/make_folder.py FOLDER --data ../shared/data --cells 1000000
    scim import-scimilarity FOLDER ATLAS
    python benchmarks/scimilarity/run.py FOLDER ATLAS --data ../shared/data --python .scimilarity/bin/python

Each job of each package runs in a separate process, on the same real cells, in turn; the first round of a process,
which reads files and compiles kernels, is not counted; the best of the others is. `encode` starts from log-normalised
cells in the genes of the model, the other jobs from counts. `search` returns the 10,000 cells nearest to a centroid of
200 cells with all of their metadata, and the query's coherence; `annotate` labels by 50 neighbours. `classes` are the
calls of the package on the scim atlas, `scim` are the equivalent calls of scim; `balanced` is the default of scim:
balanced weights with confidence.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from helpers import published

WORKER = Path(__file__).with_name("worker.py")
JOBS = {
    "encode": ("scimilarity", "classes", "scim"),
    "embed": ("scimilarity", "classes", "scim"),
    "annotate": ("scimilarity", "classes", "scim"),
    "balanced": ("scim",),
    "search": ("scimilarity", "classes", "scim"),
}


def write_query(file: Path, folder: Path, data: Path, n: int) -> float:
    """Write real cells with counts; return the mean number of genes per cell."""
    genes = (folder / "gene_order.tsv").read_text().split("\n")
    cells = published.real_cells(data, genes, n, seed=1)
    repeated = np.resize(np.arange(cells.counts.shape[0]), n)
    obs = pd.DataFrame({"label": cells.label[repeated].astype(str)}, index=[f"cell{i}" for i in range(n)])
    obs["used_in_query"] = 0
    of = obs["label"] == obs["label"].mode()[0]
    obs.loc[obs.index[of][:200], "used_in_query"] = 1
    adata = ad.AnnData(cells.counts[repeated], obs=obs, var=pd.DataFrame(index=genes))
    adata.layers["counts"] = adata.X.copy()
    adata.write_h5ad(file)
    return adata.X.nnz / n


def run(python: str, arguments: list[str]) -> dict[str, Any]:
    threads = str(len(os.sched_getaffinity(0)))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONWARNINGS": "ignore"}
    command = [python, str(WORKER), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        return {"error": done.stderr.strip().splitlines()[-1:]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="published folder")
    parser.add_argument("atlas", type=Path, help="the atlas imported from it")
    parser.add_argument("--data", type=Path, required=True, help="folder of real cells")
    parser.add_argument("--python", required=True, help="interpreter that has the published package")
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        query = Path(room) / "query.h5ad"
        n_genes = write_query(query, arguments.folder, arguments.data, arguments.cells)
        print(f"{arguments.cells:,} cells of {n_genes:,.0f} genes\n")
        print("| job | package | seconds | per second | ratio | ready in | held GB | peak GB | ratio |")
        print("|---|---|---|---|---|---|---|---|---|")
        for job in arguments.jobs:
            found: dict[str, list[dict[str, Any]]] = {package: [] for package in JOBS[job]}
            for _ in range(arguments.turns):
                for package, results in found.items():
                    python, of = (
                        (arguments.python, arguments.folder)
                        if package == "scimilarity"
                        else (sys.executable, arguments.atlas)
                    )
                    results.append(run(python, [package, job, str(of), str(query), str(arguments.rounds + 1)]))
            show(job, found, arguments.cells)


def show(job: str, found: dict[str, list[dict[str, Any]]], n: int) -> None:
    base: dict[str, float] | None = None
    for package, results in found.items():
        wrong = [result["error"] for result in results if "error" in result]
        if wrong:
            print(f"| {job} | {package} | {wrong[0]} |")
            continue
        best = min(min(result["seconds"][1:]) for result in results)
        memory, ready, held = (min(result[key] for result in results) for key in ("peak_gb", "ready", "held_gb"))
        base = base or {"seconds": best, "memory": memory}
        rate = f"{n / best:,.0f}" if job != "search" else f"{1 / best:,.1f}"
        print(
            f"| {job} | {package} | {best:.3f} | {rate} | {base['seconds'] / best:.1f} | {ready:.1f} "
            f"| {held:.2f} | {memory:.2f} | {base['memory'] / memory:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
