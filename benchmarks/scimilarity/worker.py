"""Run a job of a package in a process; print the seconds of the setup and of each round, and the memory.

run.py starts it with the interpreter of the package: `worker.py PACKAGE JOB FOLDER QUERY ROUNDS`. PACKAGE is
`scimilarity`, `classes` (the same calls of scim.scimilarity) or `scim` (calls of scim); QUERY holds raw counts.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad

if TYPE_CHECKING:
    from collections.abc import Callable

K, HITS = 50, 10_000
SAME = {"k": K, "weights": "uniform", "duplicates": "keep", "level": "label", "max_error": 1}


def package_job(name: str, job: str, folder: str, query: ad.AnnData) -> Callable[[], object]:
    """Return a job with the calls of the package."""
    package = importlib.import_module(name)
    align, lognorm = package.utils.align_dataset, package.utils.lognorm_counts
    if job in ("encode", "embed"):
        model = package.CellEmbedding(model_path=folder)
        X = lognorm(align(query.copy(), model.gene_order)).X.tocsr() if job == "encode" else None

        def embed() -> object:
            return model.get_embeddings(lognorm(align(query.copy(), model.gene_order)).X if X is None else X)

        return embed
    if job == "annotate":
        model = package.CellAnnotation(model_path=folder)
        return lambda: model.annotate_dataset(lognorm(align(query.copy(), model.gene_order)))
    model = package.CellQuery(model_path=folder)
    cells = lognorm(align(query.copy(), model.gene_order))
    return lambda: model.search_centroid_nearest(cells, "used_in_query", k=HITS)


def scim_job(job: str, folder: str, query: ad.AnnData) -> Callable[[], object]:
    """Return a job with the calls of scim."""
    import scim  # noqa: PLC0415  (the package's interpreter does not have it)

    scim.settings.progress = False
    atlas: Any = scim.atlas.open(folder)
    if job in ("encode", "embed"):
        model = atlas.model
        counts = scim.pp.find_counts(query)
        genes = scim.pp.match_genes(counts.var, model.genes)
        chunks = [chunk.X for chunk in scim.pp.lognorm_chunks(counts, genes)] if job == "encode" else []
        if job == "encode":
            return lambda: [model.encode(X) for X in chunks]
        return lambda: scim.tl.embed(query.copy(), atlas)

    def annotate() -> None:
        cells = query.copy()
        scim.tl.embed(cells, atlas)
        scim.tl.annotate(cells, atlas, **(SAME if job == "annotate" else {}))

    def search() -> object:
        cells = state.copy()
        scim.tl.search(cells, atlas, groupby="used_in_query", k=HITS, where="in_cellsearch")
        return scim.get.hits(cells, only_similar=False, atlas=atlas)

    atlas.index, atlas.label_transfer()
    state = query[query.obs["used_in_query"] == 1].copy()
    state.obs["used_in_query"] = state.obs["used_in_query"].astype(str).astype("category")
    scim.tl.embed(state, atlas)
    return search if job == "search" else annotate


def memory(what: str) -> float:
    """Return the resident memory, or its peak so far, in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1e6


def main() -> None:
    package, job, folder, query, rounds = sys.argv[1:]
    start = time.perf_counter()
    cells = ad.read_h5ad(query)
    name = {"classes": "scim.scimilarity"}.get(package, package)
    run = scim_job(job, folder, cells) if package == "scim" else package_job(name, job, folder, cells)
    ready, held = time.perf_counter() - start, memory("VmRSS")
    seconds = []
    for _ in range(int(rounds)):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"ready": ready, "seconds": seconds, "held_gb": held, "peak_gb": memory("VmHWM")}))


if __name__ == "__main__":
    main()
