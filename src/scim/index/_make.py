"""Make the engine of a kind from unit rows, read in the order of their ids without a copy of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from scim._core.cosine import unit_rows
from scim._core.numba import threads
from scim.index._engine import ExactEngine
from scim.index._segments import vectors_of
from scim.index.graph._engine import GraphEngine
from scim.index.ivf._build import build_ivf
from scim.index.ivf._engine import IvfEngine
from scim.io import release_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from scim._core.types import Floats, Ints
    from scim.index._engine import Engine
    from scim.index._segments import Segment

    Ranks = Ints | slice
    Allocate = Callable[[str, tuple[int, ...], Any], NDArray[Any]]  # makes an array by name, shape and dtype

KINDS: dict[str, type[Engine]] = {"exact": ExactEngine, "ivf": IvfEngine, "graph": GraphEngine}

CHUNK = 65_536  # rows that are read at a time
_LEAST_WORK = 64  # multiplications for each number of the rows that building takes at least


class Source(Protocol):
    """Unit rows by rank."""

    n_rows: int
    dim: int
    n_chunks: int

    def take(self, ranks: Ints) -> Floats:
        """Return the rows of these ranks."""

    def chunks(self) -> Iterator[tuple[Ranks, Floats]]:
        """Yield all rows in chunks, with their ranks."""


def in_memory(name: str, shape: tuple[int, ...], dtype: Any) -> Any:  # noqa: ARG001  (a file would have a name)
    """Allocate an array in memory."""
    return np.zeros(shape, dtype=dtype)


def make_engine(
    kind: str, source: Source, rng: np.random.Generator, n_threads: int | None, allocate: Allocate, **params: Any
) -> Engine:
    """Build an engine from unit rows by rank."""
    with threads(n_threads, work=source.n_rows * source.dim * _LEAST_WORK):
        if kind == "ivf":
            return build_ivf(source, rng, allocate, **params)
        rows = source.take(np.arange(source.n_rows))
        return ExactEngine(rows) if kind == "exact" else GraphEngine.from_rows(rows, rng, **params)


class MatrixSource:
    """The rows of a matrix with an id each, scaled to unit length when they are read; a memory map chunk by chunk."""

    def __init__(self, X: NDArray[Any], ids: Ints) -> None:
        self.n_rows, self.dim = X.shape
        self.n_chunks = -(-self.n_rows // CHUNK)
        self._X = X
        self._row_of_rank = None if (ids[1:] > ids[:-1]).all() else np.argsort(ids)

    def rows_of(self, ranks: Ints) -> Ints:
        """Return the positions in the matrix of the rows of these ranks."""
        return ranks if self._row_of_rank is None else self._row_of_rank[ranks]

    def take(self, ranks: Ints) -> Floats:
        """Return the rows of these ranks."""
        numbers = self.rows_of(ranks)
        out = np.empty((len(ranks), self.dim), dtype=np.float32)
        for start in range(0, len(ranks), CHUNK):
            chunk = numbers[start : start + CHUNK]
            out[start : start + CHUNK] = unit_rows(self._X[chunk], what="rows", numbers=chunk)
            release_pages(self._X)
        return out

    def chunks(self) -> Iterator[tuple[Ranks, Floats]]:
        """Yield all rows in the order of the matrix."""
        ranks = None
        if self._row_of_rank is not None:
            ranks = np.empty_like(self._row_of_rank)
            ranks[self._row_of_rank] = np.arange(self.n_rows)
        for start in range(0, self.n_rows, CHUNK):
            chunk = slice(start, min(start + CHUNK, self.n_rows))
            yield chunk if ranks is None else ranks[chunk], unit_rows(self._X[chunk], what="rows", first=start)
            release_pages(self._X)


class SegmentsSource:
    """The rows of segments, as they are stored, in the order of ascending ids."""

    def __init__(self, segments: Sequence[Segment], ids: Ints) -> None:
        self._segments, self._ids = segments, ids
        self.n_rows, self.dim = len(ids), segments[0].engine.dim
        self.n_chunks = -(-self.n_rows // CHUNK)

    def take(self, ranks: Ints) -> Floats:
        """Return the rows of these ranks."""
        return vectors_of(self._segments, self._ids[ranks])

    def chunks(self) -> Iterator[tuple[Ranks, Floats]]:
        """Yield all rows in the order of their ids."""
        for start in range(0, self.n_rows, CHUNK):
            chunk = slice(start, min(start + CHUNK, self.n_rows))
            yield chunk, vectors_of(self._segments, self._ids[chunk])
