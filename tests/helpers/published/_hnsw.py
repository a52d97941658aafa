"""Index files of hnswlib 0.8 in its exact layout; the graph may be random."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

DELETED = 1
"""The bit of a record's flags that marks a deleted element."""


class HnswHeader(NamedTuple):
    """The 96 bytes at the start of a file, in their order."""

    offset_level0: int
    max_elements: int
    count: int
    record_bytes: int
    label_offset: int
    vector_offset: int
    max_level: int
    entry: int
    max_links: int
    max_links0: int
    m: int
    mult: float
    ef_construction: int

    def pack(self) -> bytes:
        """Return the bytes, little endian without padding."""
        return struct.pack("<6QiI3QdQ", *self)

    @classmethod
    def of(cls, count: int, dim: int, m: int, *, max_elements: int, max_level: int, entry: int, ef: int) -> HnswHeader:
        """Return the header that hnswlib would write for these sizes."""
        links = 4 + 2 * m * 4
        record = links + dim * 4 + 8
        return cls(
            0, max_elements, count, record, links + dim * 4, links, max_level, entry, m, 2 * m, m, 1 / math.log(m), ef
        )


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows as a cosine index stores them: divided by their length, in float32; a zero row is unchanged."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1, dtype=np.float32)) + np.float32(1e-30)
    return vectors * (np.float32(1) / lengths)[:, None]


def write_hnsw(
    path: Path,
    vectors: NDArray[np.float32] | Iterable[NDArray[np.float32]],
    *,
    n: int | None = None,
    labels: NDArray[np.int64] | None = None,
    deleted: Collection[int] = (),
    m: int = 16,
    max_elements: int | None = None,
    ef_construction: int = 200,
    links: Literal["random", "none"] = "random",
    normalise: bool = True,
    seed: int = 0,
) -> HnswHeader:
    """Write an index file of cosine space.

    Parameters
    ----------
    path
        The file; an older one is replaced.
    vectors
        All vectors (n, dim), or blocks of them, then with `n`.
    labels
        The label of each internal id; its own number if not given.
    deleted
        Labels of elements that are marked as deleted.
    m
        Links of an element in the upper levels; it has up to twice as many in level 0.
    max_elements
        For how many elements there is room; `n` if not given.
    links
        `"random"`: a graph that loads but cannot be searched; `"none"`: elements without links, and no upper level.
    """
    if isinstance(vectors, np.ndarray):
        n, vectors = len(vectors), [vectors]
    assert n is not None, "n= is needed with blocks of vectors"
    rng = np.random.default_rng(seed)
    blocks = iter(vectors)
    first = next(blocks, None)
    dim = 1 if first is None else first.shape[1]
    levels = _levels(n, m, rng) if links == "random" else np.zeros(n, np.int8)
    header = HnswHeader.of(
        n,
        dim,
        m,
        max_elements=max_elements or n,
        max_level=int(levels.max()) if n else -1,
        entry=int(levels.argmax()) if n else 2**32 - 1,
        ef=ef_construction,
    )
    labels = np.arange(n) if labels is None else np.asarray(labels)
    gone = np.isin(labels, np.fromiter(deleted, np.int64)) if len(deleted) else np.zeros(n, bool)
    with path.open("wb") as file:
        file.write(header.pack())
        start = 0
        for block in _chain(first, blocks):
            rows = slice(start, start + len(block))
            file.write(_records(header, block, labels[rows], gone[rows], rng, links, normalise=normalise))
            start = rows.stop
        assert start == n, f"expected {n} vectors, got {start}"
        _write_upper(file, header, levels, rng)
    return header


def _chain(first: NDArray[np.float32] | None, rest: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    if first is not None:
        yield first
        yield from rest


def _levels(n: int, m: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """Return the level of each element, drawn as hnswlib draws it."""
    return (-np.log(1 - rng.random(n, np.float32)) / math.log(m)).astype(np.int8)


def _records(header: HnswHeader, vectors, labels, gone, rng, links: str, *, normalise: bool) -> bytes:
    dim = vectors.shape[1]
    record = np.dtype(
        {
            "names": ["n", "flags", "links", "x", "label"],
            "formats": ["<u2", "u1", ("<u4", header.max_links0), ("<f4", dim), "<u8"],
            "offsets": [0, 2, 4, header.vector_offset, header.label_offset],
            "itemsize": header.record_bytes,
        }
    )
    out = np.zeros(len(vectors), record)
    out["flags"] = np.where(gone, DELETED, 0)
    out["x"] = normalised(np.asarray(vectors, np.float32)) if normalise else vectors
    out["label"] = labels
    if links == "random":
        out["n"] = rng.integers(1, header.max_links0 + 1, len(out))
        out["links"] = rng.integers(0, header.count, (len(out), header.max_links0), dtype=np.uint32)
        out["links"][np.arange(header.max_links0) >= out["n"][:, None]] = 0
    return out.tobytes()


def _write_upper(file: BinaryIO, header: HnswHeader, levels: NDArray[np.int8], rng: np.random.Generator) -> None:
    """Write the lengths and the links of the upper lists of each element: links are to elements of the same level."""
    size = 4 + 4 * header.max_links
    reached = [np.flatnonzero(levels >= level) for level in range(header.max_level + 1)]
    before = 0
    for i in np.flatnonzero(levels):
        file.write(bytes(4 * (i - before)))
        file.write(struct.pack("<I", int(levels[i]) * size))
        for level in range(1, levels[i] + 1):
            links = np.zeros(1 + header.max_links, "<u4")
            to = rng.choice(reached[level], min(header.max_links, len(reached[level])), replace=False)
            links[0], links[1 : 1 + len(to)] = len(to), to
            file.write(links.tobytes())
        before = i + 1
    file.write(bytes(4 * (len(levels) - before)))
