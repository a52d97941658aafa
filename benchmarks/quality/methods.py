"""List the methods, check which can run, and run them in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

FIXED = {"scim": "fixed.scim_recipe", "paper": "fixed.paper"}
PEERS = {
    "logistic regression": "peers.logistic_regression",
    "LDA": "peers.lda",
    "kNN on PCA": "peers.knn_pca",
    "NCA": "peers.nca",
    "ingest": "peers.ingest",
    "CellTypist": "peers.celltypist",
    "symphonypy": "peers.symphonypy",
}
MODULES = FIXED | PEERS
WORKER = Path(__file__).with_name("worker.py")


def importable(methods: list[str], python: str) -> list[str]:
    """Return the methods that can run, the peers with the interpreter `python`; print why the others cannot."""
    modules = [PEERS[name] for name in methods if name in PEERS]
    command = [python, str(WORKER), "--check", *modules]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    problems = json.loads(found.splitlines()[-1])
    for module, problem in problems.items():
        if problem:
            print(f"{module} cannot run: {problem} (see environment.txt)", file=sys.stderr)
    return [name for name in methods if not problems.get(MODULES[name])]


def run(job: dict[str, Any], folder: Path, python: str, *, threads: int) -> Iterator[dict[str, Any]]:
    """Run the tasks of a job; yield the seconds and memory of each, or its error, when it is done."""
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
    environment = os.environ | dict.fromkeys(names, str(threads))
    stderr = folder / "stderr.txt"  # a pipe would fill, and stop the worker
    with (
        stderr.open("w") as errors,
        subprocess.Popen(
            [python, str(WORKER), str(path)], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as worker,
    ):
        for line in worker.stdout:
            if line.startswith("{") and line.endswith("}\n"):
                yield json.loads(line)
    if worker.returncode:
        msg = f"the worker ended with {worker.returncode}: {stderr.read_text().strip().splitlines()[-1:]}"
        raise RuntimeError(msg)
