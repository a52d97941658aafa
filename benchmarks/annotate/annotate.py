"""Measure the cells per second of `scim.tl.annotate` against a large atlas, without embedding, and of a Python loop.

    python ../shared/bench/make_embeddings.py 1e6 FILE.npy   # unit vectors with 200 types in 400 studies
    python benchmarks/annotate/annotate.py FILE.npy [--queries 100000] [--data FOLDER]

The last rows of the file are the queries, the others the atlas, which is made once and kept under `--data`. One row of
the table restricts the labels. The loop transfers labels in Python, cell by cell, from neighbours found beforehand: the
cost of a safelist is not included.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import psutil

import scim

if TYPE_CHECKING:
    from collections.abc import Callable

ALLOWED = [f"cell_type {i}" for i in (3, 50, 77, 120, 160)]


def atlas_of(vectors: Path, n: int, folder: Path) -> Path:
    """Make the atlas of the first rows, unless it exists."""
    path = folder / f"{vectors.stem}-{n}.scim"
    if not (path / "atlas.json").exists():
        with np.load(vectors.with_suffix(".obs.npz")) as codes:
            columns = {
                name: [f"{name} {code}" for code in codes[name][:n]] for name in ("study", "cell_type", "tissue")
            }
        obs = pd.DataFrame(columns, index=[f"cell{i}" for i in range(n)]).astype("category")
        cells = anndata.AnnData(obs=obs, obsm={"X_made": np.asarray(np.load(vectors, mmap_mode="r")[:n])})
        keys = {"study_key": "study", "label_key": "cell_type", "columns": ["tissue"]}
        scim.atlas.from_embedding(cells, path, obsm="X_made", overwrite=True, **keys).close()
    return path


def loop(distances: np.ndarray, ids: np.ndarray, labels: np.ndarray) -> list[str]:
    """Sum the distance weights of the labels cell by cell, in dictionaries."""
    winners = []
    for row, found in zip(distances, ids, strict=True):
        votes: dict[str, float] = defaultdict(float)
        for distance, i in zip(row, found, strict=True):
            votes[labels[i]] += 1 / max(distance, 1e-6)
        winners.append(max(votes, key=lambda label: votes[label]))
    return winners


def measured(work: Callable[[], object]) -> tuple[float, float, float]:
    """Return wall and CPU seconds of a call, and its peak memory above that before the call (GB)."""
    process, peak, done = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    done.set()
    watcher.join()
    return wall, cpu, max(0, peak[0] - before) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "scim-bench")
    arguments = parser.parse_args()
    arguments.data.mkdir(parents=True, exist_ok=True)
    rows = np.load(arguments.vectors, mmap_mode="r")
    n = len(rows) - arguments.queries
    X = np.asarray(rows[n:])
    query = anndata.AnnData(obs=pd.DataFrame(index=[f"q{i}" for i in range(len(X))]), obsm={"X_made": X})
    with scim.atlas.open(atlas_of(arguments.vectors, n, arguments.data)) as atlas:

        def annotate(**choices: object) -> Callable[[], object]:
            return lambda: scim.tl.annotate(query, atlas, use_rep="X_made", **choices)

        started = time.perf_counter()
        warm = query[:2000].copy()
        for choices in ({}, {"allow": ALLOWED}):
            scim.tl.annotate(warm, atlas, use_rep="X_made", **choices)
        print(f"{atlas.n_obs:,} cells; first call with its centroids {time.perf_counter() - started:.1f} s")
        found = atlas.index.query(X[:10_000], 50)
        words = atlas.labels.names[atlas.labels.codes]
        steps = {
            "tl.annotate": (annotate(), len(X)),
            "tl.annotate, 5 of 200 labels allowed": (annotate(allow=ALLOWED), len(X)),
            'tl.annotate, weights="distance"': (annotate(weights="distance"), len(X)),
            "tl.annotate, statistics": (annotate(statistics=True), len(X)),
            "a loop over cells, weights only": (lambda: loop(*found, words), 10_000),
        }
        for name, (work, cells) in steps.items():
            wall, cpu, memory = min(measured(work) for _ in range(3))
            print(f"{name:<40} {cells / wall:9,.0f} cells/s {1e6 * cpu / cells:6.0f} CPU us/cell, {memory:.2f} GB more")


if __name__ == "__main__":
    main()
