"""Measure the cells per second from counts to embeddings, and of a plain dense torch forward pass, in one run.

    python benchmarks/embed/encode.py [--data FOLDER] [--cells 10000 50000] [--rounds 3] [--standardize]

The cells are real cells of three studies (two of blood, one of pancreas), over their 20,000 most expressed
genes, repeated up to the given number; the network is 20,000 -> 1024 -> 1024 -> 1024 -> 128 with random weights.
Each number of cells runs in a separate process. `--rounds 0` measures memory only. Linux.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import torch
from scipy import sparse

import scim
from scim.model import Encoder, Labels, Model, ModelConfig
from scim.pp import canonical_genes, find_counts, lognorm_chunks, match_genes

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parents[3] / "shared" / "data"
STUDIES = ("zheng_facs", "pbmc3k", "baron_human234")
N_GENES, HIDDEN, LATENT = 20_000, (1024, 1024, 1024), 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000, 50_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--standardize", action="store_true", help="a network that standardises each cell")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(
            json.dumps(measure(arguments.data, arguments.cells[0], arguments.rounds, standardize=arguments.standardize))
        )
        return
    for n in arguments.cells:
        command = [sys.executable, __file__, "--one", "--data", str(arguments.data), "--cells", str(n)]
        command += ["--standardize"] * arguments.standardize
        output = subprocess.run(
            [*command, "--rounds", str(arguments.rounds)], check=True, capture_output=True, text=True
        )
        report(n, json.loads(output.stdout.splitlines()[-1]))


def measure(data: Path, n: int, rounds: int, *, standardize: bool) -> dict[str, Any]:
    adata, genes = real_cells(data, n)
    net = random_net(standardize=standardize)
    model = Model(net.config, genes, Labels((), ()), net)
    found = match_genes(adata.var, genes)
    X = sparse.vstack([chunk.X for chunk in lognorm_chunks(find_counts(adata), found)], format="csr")
    ways: dict[str, Callable[[], np.ndarray]] = {
        "encode csr": lambda: model.encode(X, found.observed),
        "tl.embed": lambda: embedded(adata, model),
        "dense": lambda: plain(net, X),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    rows = {}
    for name in ("encode csr", "tl.embed"):  # compiles the kernels
        ways[name]()
    grown = {name: growth(way) for name, way in ways.items() if name != "dense" or rounds}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            rows[name] = way()
            seconds[name].append(time.perf_counter() - start)
    gap = max((float(np.abs(rows[name] - rows["dense"]).max()) for name in rows), default=None)
    return {"seconds": seconds, "gap": gap, "grown": grown, "values_per_cell": X.nnz / n}


def report(n: int, result: dict[str, Any]) -> None:
    print(f"\n{n} cells x {N_GENES} genes, {result['values_per_cell']:.0f} values per cell")
    for name, grown in result["grown"].items():
        print(f"{name:20s} memory +{grown:.0f} MB, of which the embedding {n * LATENT * 4 / 2**20:.0f}")
    if result["gap"] is None:
        return
    print(f"largest difference from the dense forward pass {result['gap']:.1e}")
    dense = np.array(result["seconds"]["dense"])
    for name, seconds in result["seconds"].items():
        ratio = np.median(dense / np.array(seconds))
        print(f"{name:20s} {n / min(seconds):6.0f} cells/s at best, {ratio:4.2f} x dense (median of rounds)")


def growth(way: Callable[[], object]) -> float:
    """Return the peak memory of a call above that before it, in MB, sampled every 2 ms."""
    done = threading.Event()
    ctypes.CDLL(None).malloc_trim(0)  # return memory that earlier work freed
    before = peak = resident()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    way()
    done.set()
    watcher.join()
    return peak - before


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def real_cells(data: Path, n: int) -> tuple[anndata.AnnData, np.ndarray]:
    """Return all cells of the studies over the union of their genes, repeated up to `n`, and the genes of the model."""
    parts = {study: anndata.read_h5ad(data / f"{study}.h5ad") for study in STUDIES}
    for part in parts.values():
        part.obs = part.obs[[]]
        part.var_names = canonical_genes(part.var_names)
        part.var = part.var[[]]
    unique = [part[:, ~part.var_names.duplicated()] for part in parts.values()]
    joined = anndata.concat(unique, join="outer", index_unique="-", keys=list(parts))
    X = sparse.csr_matrix(joined.X, dtype=np.float32)
    X = X[np.random.default_rng(0).permutation(X.shape[0])][np.arange(n) % X.shape[0]]
    expressed = np.bincount(X.indices, minlength=X.shape[1])
    genes = joined.var_names.to_numpy(dtype=object)[np.sort(np.argsort(-expressed, kind="stable")[:N_GENES])]
    return anndata.AnnData(X, obs=pd.DataFrame(index=np.arange(n).astype(str)), var=joined.var), genes


def embedded(adata: anndata.AnnData, model: Model) -> np.ndarray:
    scim.tl.embed(adata, model=model)
    return adata.obsm["X_scim"]


def random_net(*, standardize: bool) -> Encoder:
    generator = torch.Generator().manual_seed(0)
    net = Encoder(ModelConfig(N_GENES, hidden=HIDDEN, latent_dim=LATENT, standardize=standardize), generator)
    for block in net.blocks:
        block[2].running_mean.normal_(0, 0.1, generator=generator)
        block[2].running_var.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


def plain(net: Encoder, X: sparse.csr_matrix, batch_size: int = 1000) -> np.ndarray:
    """Embed dense batches with the unchanged network."""
    out = np.empty((X.shape[0], LATENT), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, X.shape[0], batch_size):
            batch = slice(start, start + batch_size)
            out[batch] = net(torch.from_numpy(X[batch].toarray())).numpy()
    return out


if __name__ == "__main__":
    main()
