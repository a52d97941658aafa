"""Write a model folder of full shape with many cells, in the layout of SCimilarity, to time both packages.

Run it with the interpreter of the published package (scripts/make_scimilarity_env.sh); one thread builds the
indices with hnswlib, five minutes for 1,000,000 cells.

    .scimilarity/bin/python benchmarks/scimilarity/make_folder.py OUT --data ../shared/data --cells 1000000

The network has random weights with batch-norm statistics of real cells, and a last layer fitted so that cells of a type
are near each other. The cells are mixtures of two real cells with near embeddings, plus a little noise: neighbourhoods
resemble real ones, and no two cells are equal.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import hnswlib
import numpy as np

from scimilarity import CellEmbedding

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from helpers import published

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

BLOCK = 100_000


def log(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def write_network(out: Path, data: Path, genes: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Write the network; return the real cells' embeddings, labels and studies as numbers, and the labels' names."""
    cells = published.real_cells(data, genes)
    names, label = np.unique(cells.label.astype(str), return_inverse=True)
    some = cells.X[:3000].toarray()
    encoder = published.fit_last(published.random_encoder(len(genes), cells=some), some, label[: len(some)])
    decoder = published.random_decoder(len(genes))
    published.write_model(out, genes, encoder, decoder=decoder, labels=names.tolist())
    embedded = CellEmbedding(str(out)).get_embeddings(cells.X, buffer_size=2000)
    return embedded, label, np.unique(cells.study.astype(str), return_inverse=True)[1], names.tolist()


def near(embedded: np.ndarray, k: int = 10) -> np.ndarray:
    """Return the nearest cells of each cell, itself first, (n, k)."""
    parts = [np.argpartition(-(part @ embedded.T), k, axis=1)[:, :k] for part in np.array_split(embedded, 20)]
    return np.concatenate(parts)


def mixtures(embedded: np.ndarray, n: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return n unit rows, and the real cell that each is made from."""
    rng, neighbours = np.random.default_rng(seed), near(embedded)
    source = np.empty(n, np.int64)
    out = np.empty((n, embedded.shape[1]), np.float32)
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        of = rng.integers(0, len(embedded), size)
        other = neighbours[of, rng.integers(0, neighbours.shape[1], size)]
        share = rng.random((size, 1), np.float32) / 2
        x = embedded[of] * (1 - share) + embedded[other] * share
        x += rng.standard_normal(x.shape, np.float32) * np.float32(noise / x.shape[1] ** 0.5)
        out[start : start + size] = x / np.linalg.norm(x, axis=1, keepdims=True)
        source[start : start + size] = of
    return out, source


def build(path: Path, vectors: np.ndarray, m: int, ef: int) -> None:
    """Write an index file, built by hnswlib in one thread."""
    index = hnswlib.Index(space="cosine", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), ef_construction=ef, M=m)
    for start in range(0, len(vectors), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(vectors)))
        index.add_items(vectors[rows], rows, num_threads=1)
        log(f"{path.name}: {rows[-1] + 1} of {len(vectors)}")
    index.save_index(str(path))


def write_cells(
    out: Path, x: np.ndarray, label: np.ndarray, study: np.ndarray, names: list[str], annotated: np.ndarray
) -> None:
    """Write the metadata and the embeddings."""
    folder = out / "cellsearch"
    folder.mkdir(exist_ok=True)

    def frames() -> Iterator[pd.DataFrame]:
        for start in range(0, len(x), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(x)))
            yield published.metadata_block(rows, study[rows], names, annotated=annotated[rows], label=label[rows])

    published.write_metadata(folder / "cell_metadata", frames(), len(x))
    published.write_embedding(folder / "cell_embedding", x, *x.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real cells")
    parser.add_argument("--genes", type=Path, help="a gene order, one symbol a line")
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--annotated", type=float, default=0.34, help="the share of them in the annotation index")
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--m", type=int, default=80)
    parser.add_argument("--ef-construction", type=int, default=100)
    parser.add_argument("--noise", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    genes = given.genes.read_text().split() if given.genes else published.gene_symbols(given.data)
    embedded, label, _, names = write_network(given.out, given.data, genes)
    log(f"{len(embedded)} real cells; mean cosine of two: {float((embedded.mean(axis=0) ** 2).sum()):.3f}")
    x, source = mixtures(embedded, given.cells, given.noise, given.seed)
    rng = np.random.default_rng(given.seed)
    study = np.arange(len(x)) * given.studies // len(x)
    annotated = rng.random(len(x)) < given.annotated
    write_cells(given.out, x, label[source], study, names, annotated)
    log("metadata and embeddings written")

    (given.out / "annotation").mkdir(exist_ok=True)
    rows = np.flatnonzero(annotated)
    lines = [f"{names[label[source[i]]]}\tGSE{100_000 + study[i]}\n" for i in rows]
    (given.out / "annotation" / "reference_labels.tsv").write_text("".join(lines))
    build(given.out / "annotation" / "labelled_kNN.bin", x[rows], given.m, given.ef_construction)
    build(given.out / "cellsearch" / "full_kNN.bin", x, given.m, given.ef_construction)


if __name__ == "__main__":
    main()
