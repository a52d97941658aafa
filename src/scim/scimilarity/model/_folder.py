"""The small files of a published model: sizes of its layers, genes, labels."""

from __future__ import annotations

import csv
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scim._core.errors import FormatError
from scim.pp import canonical_genes, gene_symbols

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_MOST_BYTES = 64 << 20
"""Of a small file; the genes of the published model take 0.2 MB."""


class GeneOrder(NamedTuple):
    """The genes of a published model."""

    published: list[str]
    """Symbols as its folder has them."""

    genes: NDArray[np.object_]
    """(n_genes,) the names by which our models know them; each once."""


def read_layer_sizes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of the encoder, by the name it has there."""
    file = folder / "layer_sizes.json"
    sizes = read_facts(file)
    for name, shape in sizes.items():
        if not isinstance(shape, list) or not all(isinstance(n, int) and 0 < n < 1 << 31 for n in shape):
            msg = f"{str(file)!r}: {name!r} is {shape!r}, expected a list of sizes."
            raise FormatError(msg)
    return {name: tuple(shape) for name, shape in sizes.items()}


def read_facts(file: Path) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        content = json.loads(_text(file))
    except (ValueError, RecursionError) as error:
        msg = f"{str(file)!r} is not readable JSON ({error})."
        raise FormatError(msg) from error
    if not isinstance(content, dict):
        msg = f"{str(file)!r} holds a {type(content).__name__}, expected an object."
        raise FormatError(msg)
    return content


def read_gene_order(folder: Path) -> GeneOrder:
    """Read the genes, one a line, and give each its canonical id.

    Two published symbols may be names of one gene, as C12orf74 and PLEKHG7. The one of today gets the id; the other
    keeps its symbol, by which :func:`scim.pp.match_genes` finds it, because the model has weights for each.
    """
    file = folder / "gene_order.tsv"
    published = [line.strip() for line in _text(file).splitlines()]
    while published and not published[-1]:
        published.pop()
    if not published or not all(published):
        msg = f"{str(file)!r} must have a gene symbol in every line."
        raise FormatError(msg)
    twice = [gene for gene, n in Counter(published).items() if n > 1]
    if twice:
        msg = f"{str(file)!r} has the same gene more than once, as {twice[:3]}."
        raise FormatError(msg)
    genes = canonical_genes(published)
    today = gene_symbols(genes)
    first: dict[str, int] = {}
    for i, gene in enumerate(genes):
        if gene not in first or today[i] == published[i]:
            first[gene] = i
    kept = np.zeros(len(genes), dtype=bool)
    kept[list(first.values())] = True
    return GeneOrder(published, np.where(kept, genes, np.array(published, dtype=object)))


def read_labels(folder: Path) -> list[str]:
    """Return the names of the labels in the order of their integers."""
    file = folder / "label_ints.csv"
    try:
        rows = list(csv.reader(_text(file).splitlines()))
    except csv.Error as error:
        msg = f"{str(file)!r} is no table of labels ({error})."
        raise FormatError(msg) from error
    if not rows or rows[0] != ["", "0"] or any(len(row) != 2 for row in rows):
        msg = f'{str(file)!r} must have the header "","0" and two values a line: a number and a label.'
        raise FormatError(msg)
    if [row[0] for row in rows[1:]] != [str(i) for i in range(len(rows) - 1)]:
        msg = f"{str(file)!r} must number its labels from 0 without a gap."
        raise FormatError(msg)
    return [row[1] for row in rows[1:]]


def _text(file: Path) -> str:
    if not file.is_file():
        msg = f"{str(file.parent)!r} is not a whole SCimilarity model: it has no file {file.name!r}."
        raise FormatError(msg)
    if file.stat().st_size > _MOST_BYTES:
        msg = f"{str(file)!r} has {file.stat().st_size:,} bytes, more than {_MOST_BYTES:,}."
        raise FormatError(msg)
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        msg = f"{str(file)!r} is not text ({error})."
        raise FormatError(msg) from error
