"""Cells a second of `scim.tl.annotate` and `scim.tl.search`, embedding excluded.

    python benchmarks/annotate/annotate.py [--queries 10000] [--atlas-cells 20000]

The atlas and the queries are the packaged embeddings, drawn with replacement and moved a little.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd

import scim
from scim._core.vote import vote

if TYPE_CHECKING:
    from collections.abc import Callable


def moved(rows: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows and move each by about a tenth of its length."""
    drawn = rng.integers(0, len(rows), n)
    X = rows[drawn] + rng.normal(scale=0.1 / np.sqrt(rows.shape[1]), size=(n, rows.shape[1])).astype(np.float32)
    return X / np.linalg.norm(X, axis=1, keepdims=True), drawn


def best(work: Callable[[], object], rounds: int = 5) -> float:
    """Return the shortest time of some rounds; the first, which compiles, is not counted."""
    work()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--atlas-cells", type=int, default=20_000)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    with scim.atlas.open() as atlas:
        rows, codes = atlas.embeddings(), atlas.labels.codes
        X, _ = moved(rows, arguments.queries, rng)
        base, drawn = moved(rows, arguments.atlas_cells, rng)
        index = scim.index.build(base, rng=0)
        weights = np.ones(len(atlas.labels.names), dtype=np.float32)
        adata = anndata.AnnData(obs=pd.DataFrame(index=[str(i) for i in range(len(X))]), obsm={"X_scim": X})
        found = index.query(X, 50)
        times = {
            f"neighbours, k = 50, {len(base):,} cells ({index.kind})": best(lambda: index.query(X, 50)),
            "vote": best(lambda: vote(*found, codes[drawn], weights, weights="distance", top_n=3)),
            f"tl.annotate, packaged atlas of {atlas.n_obs:,} cells, open": best(lambda: scim.tl.annotate(adata, atlas)),
            "tl.annotate, opening the atlas too": best(lambda: scim.tl.annotate(adata)),
            "tl.search, k = 50": best(lambda: scim.tl.search(adata, atlas, k=50)),
        }
    for name, seconds in times.items():
        print(f"{name:<65} {seconds:7.3f} s {len(X) / seconds:12,.0f} cells/s")


if __name__ == "__main__":
    main()
