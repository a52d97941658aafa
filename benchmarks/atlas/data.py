"""Simulate cells in h5ad files: sparse counts with gene frequencies, depths and cell types as in real data.

    python benchmarks/atlas/data.py [--files 4] [--cells 250000] [--genes 20000] [--values 700] [--seed 0] [--folder F]

The molecules of a cell are drawn one by one from the profile of its type, so small counts are as frequent as in real
data and the number of genes varies. A file is written block by block as anndata writes csr: float32 values, int32
columns, small chunks, uncompressed. Existing files are kept.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from scim._core.numba import njit
from scim.pp import canonical_genes
from scim.pp._gene_names import _table

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER = Path(tempfile.gettempdir()) / "scim-bench" / "atlas"
N_TYPES, BLOCK = 40, 5_000
COLUMNS = ("donor", "tissue", "disease", "assay", "sex", "age", "n_counts", "is_primary")
"""Columns of obs besides `cell_type`: categoricals, whole numbers, fractions, truth values."""


def made(folder: Path, n_files: int, n_cells: int, *, n_genes: int, values: int, seed: int = 0) -> list[Path]:
    """Return the files; make those that do not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"cells-{n_cells}-{n_genes}-{values}-{seed}-{number}.h5ad" for number in range(n_files)]
    for number, path in enumerate(paths):
        if not path.exists():
            temporary = path.with_suffix(".part")
            write(temporary, n_cells, n_genes, values, np.random.default_rng([seed, number]), profile_seed=seed)
            temporary.rename(path)  # last: a file of this name is complete
    return paths


def write(path: Path, n_cells: int, n_genes: int, values: int, rng: np.random.Generator, *, profile_seed: int) -> None:
    """Write one file."""
    probability, other = profiles(n_genes, np.random.default_rng(profile_seed))
    types = rng.choice(N_TYPES, n_cells, p=np.arange(N_TYPES, 0, -1) / (N_TYPES * (N_TYPES + 1) / 2))
    # Four tenths of the molecules come from genes that the cell expresses already.
    depth = np.clip(rng.lognormal(np.log(1.33 * values), 0.5, n_cells), 20, None).astype(np.int64)
    genes = gene_names(n_genes)
    with h5py.File(path, "w") as file:
        adata = anndata.AnnData(obs=columns(types, depth, rng), var=pd.DataFrame(index=genes))
        for part in ("obs", "var"):
            anndata.io.write_elem(file, part, getattr(adata, part))
        for start in range(0, n_cells, BLOCK):
            some = slice(start, start + BLOCK)
            drawn = draw(probability, other, types[some], depth[some], int(rng.integers(2**31)))
            X = sparse.csr_matrix(drawn, shape=(len(types[some]), n_genes))
            if start == 0:
                anndata.io.write_elem(file, "X", X)
            else:
                anndata.io.sparse_dataset(file["X"]).append(X)
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})


def gene_names(n: int) -> NDArray[np.object_]:
    """Return ids of real genes, which scim recognises."""
    names = canonical_genes(_table()["ensembl"].iloc[:n])
    return np.array([*names, *(f"made-up-{i}" for i in range(n - len(names)))], dtype=object)


def columns(types: NDArray[Any], depth: NDArray[Any], rng: np.random.Generator) -> pd.DataFrame:
    """Return obs with columns of the usual kinds."""
    n = len(types)

    def text(name: str, n_values: int) -> pd.Categorical:
        return pd.Categorical.from_codes(rng.integers(0, n_values, n), [f"{name} {i}" for i in range(n_values)])

    frame = {name: text(name, k) for name, k in zip(COLUMNS[:5], (40, 20, 10, 6, 2), strict=True)}
    frame |= {"age": rng.integers(0, 90, n), "n_counts": depth.astype(np.float64), "is_primary": rng.random(n) < 0.8}
    frame["cell_type"] = pd.Categorical.from_codes(types, [f"type {i}" for i in range(N_TYPES)])
    tags = rng.integers(0, 2**63, n)
    return pd.DataFrame(frame, index=[f"{tag:016x}-{i}" for i, tag in enumerate(tags)])


def profiles(n_genes: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return tables for drawing a gene of a type in one step (Walker's alias method)."""
    base = rng.normal(0, 2.0, n_genes)
    probability = np.empty((N_TYPES, n_genes), dtype=np.float32)
    other = np.empty((N_TYPES, n_genes), dtype=np.int32)
    for number in range(N_TYPES):
        share = np.exp(base + rng.normal(0, 0.7, n_genes))
        _alias(share / share.sum(), probability[number], other[number])
    return probability, other


@njit
def _alias(share: Any, probability: Any, other: Any) -> None:
    n = share.size
    scaled = share * n
    order = np.argsort(scaled)
    low, high = 0, n - 1
    for i in range(n):
        probability[i], other[i] = 1.0, i
    while low < high:
        poor, rich = order[low], order[high]
        if scaled[poor] >= 1.0:
            break
        probability[poor], other[poor] = scaled[poor], rich
        scaled[rich] -= 1.0 - scaled[poor]
        low += 1
        if scaled[rich] < 1.0:  # below the mean now: handle it before the larger ones
            low -= 1
            order[low] = rich
            high -= 1


@njit
def draw(probability: Any, other: Any, types: Any, depth: Any, seed: int) -> Any:
    """Return data, columns and row starts of cells, the columns of each ascending."""
    np.random.seed(seed)  # noqa: NPY002  (a kernel has no Generator)
    n_genes = probability.shape[1]
    counts = np.zeros(n_genes, dtype=np.int32)
    data, columns = np.empty(depth.sum(), dtype=np.float32), np.empty(depth.sum(), dtype=np.int32)
    starts = np.zeros(types.size + 1, dtype=np.int64)
    n = 0
    for row in range(types.size):
        kind = types[row]
        for _ in range(depth[row]):
            place = np.random.random() * n_genes  # noqa: NPY002  (as above)
            gene = int(place)
            if place - gene >= probability[kind, gene]:
                gene = other[kind, gene]
            counts[gene] += 1
        for gene in range(n_genes):
            if counts[gene] > 0:
                data[n], columns[n] = counts[gene], gene
                counts[gene] = 0
                n += 1
        starts[row + 1] = n
    return data[:n], columns[:n], starts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that describe the files."""
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--cells", type=lambda text: int(float(text)), default=250_000, help="in each file")
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--values", type=int, default=700, help="genes expressed per cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=FOLDER)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    given = parser.parse_args()
    began = time.perf_counter()
    for path in made(given.folder, given.files, given.cells, n_genes=given.genes, values=given.values, seed=given.seed):
        with h5py.File(path) as file:
            per_cell = file["X/data"].size / given.cells
            print(
                f"{path}: {path.stat().st_size / 1e9:.2f} GB, {per_cell:.0f} values per cell, {file['X/data'].chunks}"
            )
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
