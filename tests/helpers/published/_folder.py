"""A whole folder: the network, the annotation index, the cell search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from helpers.published._cells import Cells
from helpers.published._hnsw import write_hnsw
from helpers.published._metadata import metadata_block, write_metadata
from helpers.published._model import random_decoder, random_encoder, write_model
from helpers.published._vectors import write_embedding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

GENES = ("CD3D", "CD3E", "CD8A", "CD19", "CD79A", "GNLY", "INS", "GCG", "LYZ", "MS4A1", "NKG7", "PPBP")
LABELS = ("B cell", "T cell", "natural killer cell", "platelet", "classical monocyte", "type B pancreatic cell")


class Folder(NamedTuple):
    """The paths and contents that `write_folder` wrote."""

    path: Path
    cells: Cells
    """The cells of the cell search; cell i is row i of the metadata."""
    labels: tuple[str, ...]
    annotated: NDArray[np.int64]
    """Of each line of reference_labels.tsv which cell it is, -1 for those that the cell search lacks: (m,)."""
    n_outside: int
    """How many cells only the annotation has; they come last."""


def write_folder(
    path: Path,
    cells: Cells | None = None,
    *,
    genes: Sequence[str] = GENES,
    hidden: Sequence[int] = (32, 24),
    labels: Sequence[str] = LABELS,
    n_outside: int = 0,
    m: int = 16,
    links: Literal["random", "none"] = "random",
    search: Collection[str] = ("full_kNN.bin", "cell_embedding"),
    deleted: Collection[int] = (),
    studies_in_labels: bool = True,
    version: str = "1.1",
    decoder: bool = True,
    final_newline: bool = False,
    in_order: bool = False,
) -> Folder:
    """Write a folder of simulated cells, with the memory of one block of `cells`.

    Parameters
    ----------
    n_outside
        How many cells the annotation has beside those of the cell search.
    search
        Which forms of the cells' vectors there are.
    deleted
        Rows that the index of the cell search marks as deleted.
    studies_in_labels
        `label<TAB>study` in reference_labels.tsv, as newer folders have it; else the label alone.
    in_order
        Whether element i of an index file is cell i. hnswlib's threads add the cells in any order, so the default is
        a random order (within each block of `cells`).
    """
    cells = cells or Cells(300, n_labels=len(labels))
    assert cells.n_labels == len(labels)
    encoder = random_encoder(len(genes), hidden, cells.dim, seed=cells.seed)
    back = random_decoder(len(genes), hidden, cells.dim) if decoder else None
    write_model(path, genes, encoder, decoder=back, labels=labels, final_newline=final_newline)
    annotated = write_annotation(
        path / "annotation",
        cells,
        labels,
        n_outside=n_outside,
        m=m,
        links=links,
        studies=studies_in_labels,
        in_order=in_order,
    )
    folder = path / "cellsearch"
    folder.mkdir()
    write_metadata(folder / "cell_metadata", _frames(cells, labels), cells.n)
    if "cell_embedding" in search:
        write_embedding(folder / "cell_embedding", cells.all_vectors(), cells.n, cells.dim, version=version)
    if "full_kNN.bin" in search:
        sizes = [len(cells.rows(start)) for start in cells.starts()]
        orders = _orders(sizes, cells.seed, in_order=in_order)
        vectors = (block[order] for block, order in zip(cells.all_vectors(), orders, strict=True))
        numbers = _numbers(sizes, orders)
        write_hnsw(folder / "full_kNN.bin", vectors, n=cells.n, labels=numbers, deleted=deleted, m=m, links=links)
    return Folder(path, cells, tuple(labels), annotated, n_outside)


def _frames(cells: Cells, labels: Sequence[str]) -> Iterator:
    for start in cells.starts():
        annotated = cells.annotated(start)
        yield metadata_block(cells.rows(start), cells.study(start), labels, annotated=annotated, seed=cells.seed)


def _orders(sizes: Sequence[int], seed: int, *, in_order: bool) -> list[NDArray[np.int64]]:
    """Return the order in which the cells of each block are added."""
    rng = np.random.default_rng([seed, 9])
    return [np.arange(size) if in_order else rng.permutation(size) for size in sizes]


def _numbers(sizes: Sequence[int], orders: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the label of each element, when the blocks are added in `orders`."""
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return np.concatenate([start + order for start, order in zip(starts[:-1], orders, strict=True)] or [starts[:0]])


def write_annotation(
    folder: Path,
    cells: Cells,
    labels: Sequence[str],
    *,
    n_outside: int = 0,
    m: int = 16,
    links: Literal["random", "none"] = "random",
    studies: bool = True,
    in_order: bool = False,
) -> NDArray[np.int64]:
    """Write the annotation index of the annotated cells and `n_outside` others; return which cell each line is."""
    folder.mkdir(parents=True, exist_ok=True)
    outside = Cells(n_outside, cells.dim, cells.n_labels, 1, block=cells.block, seed=cells.seed + 1)
    inside = [cells.rows(start)[cells.annotated(start)] for start in cells.starts()]
    which = np.concatenate([*inside, np.full(n_outside, -1)]).astype(np.int64)

    sizes = [len(rows) for rows in inside] + [len(outside.rows(start)) for start in outside.starts()]
    orders = _orders(sizes, cells.seed, in_order=in_order)

    def vectors() -> Iterator[NDArray[np.float32]]:
        yield from (cells.vectors(start)[cells.annotated(start)] for start in cells.starts())
        yield from outside.all_vectors()

    shuffled = (block[order] for block, order in zip(vectors(), orders, strict=True))
    numbers = _numbers(sizes, orders)
    write_hnsw(folder / "labelled_kNN.bin", shuffled, n=len(which), labels=numbers, m=m, links=links)
    with (folder / "reference_labels.tsv").open("w") as file:
        for source, name in ((cells, "GSE{}"), (outside, "outside")):
            for start in source.starts():
                kept = source.annotated(start) if source is cells else np.ones(len(source.rows(start)), bool)
                pairs = zip(source.label(start)[kept], source.study(start)[kept], strict=True)
                text = (f"{labels[i]}\t{name.format(100_000 + s)}\n" if studies else f"{labels[i]}\n" for i, s in pairs)
                file.writelines(text)
    return which
