"""Measure the cells per second of embedding and annotating 20,000 cells with the packaged atlas."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anndata as ad
import pandas as pd

import scim

if TYPE_CHECKING:
    from collections.abc import Callable

N_CELLS = 20_000
REPEATS = 3


def speeds(adata: ad.AnnData, threads: tuple[int, ...] = (1, 2)) -> pd.DataFrame:
    """Return cells per second, and CPU microseconds per cell, for each number of threads; rows are repeated."""
    cells = ad.concat([adata] * (1 + N_CELLS // adata.n_obs), index_unique="-")[:N_CELLS].copy()
    before, rows = scim.settings.n_threads, {}
    with scim.atlas.open() as atlas:
        for n_threads in threads:
            scim.settings.n_threads = n_threads
            for name, work in (("tl.embed", scim.tl.embed), ("tl.annotate", scim.tl.annotate)):
                work(cells, atlas)  # what is compiled and read once
                rows[f"{name}, {n_threads} threads"] = _best(lambda work=work: work(cells, atlas))
    scim.settings.n_threads = before
    return pd.DataFrame(rows).T


def _best(work: Callable[[], object]) -> dict[str, float]:
    """Return the figures of the fastest of some calls."""
    found = []
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = min(found)
    return {"cells/s": N_CELLS / wall, "CPU us per cell": 1e6 * cpu / N_CELLS}
