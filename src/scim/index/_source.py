"""Where the rows of an index come from, in the order of their ids, without a copy of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from scim._core.mmap import release_pages
from scim.index._lookup import vectors_of
from scim.index._unit import unit_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from scim.index._segment import Segment

    Ranks = NDArray[np.int64] | slice

CHUNK = 65_536


class Source(Protocol):
    """Unit rows by rank."""

    n_rows: int
    dim: int
    n_chunks: int

    def take(self, ranks: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the rows of these ranks."""

    def chunks(self) -> Iterator[tuple[Ranks, NDArray[np.float32]]]:
        """Yield all rows, some at a time, with their ranks."""


class Allocate(Protocol):
    """Makes room for an array: in memory, or in a file."""

    def __call__(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]: ...


class MatrixSource:
    """The rows of a matrix, scaled to unit length when they are read; a memory map is read chunk by chunk.

    Parameters
    ----------
    X
        Rows (n, dim), any float.
    ids
        Id of each row.
    """

    def __init__(self, X: NDArray[Any], ids: NDArray[np.int64]) -> None:
        self.n_rows, self.dim = X.shape
        self.n_chunks = -(-self.n_rows // CHUNK)
        self._X = X
        self._row_of_rank = None if (ids[1:] > ids[:-1]).all() else np.argsort(ids)

    def rows_of(self, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers that rows have in the matrix."""
        return ranks if self._row_of_rank is None else self._row_of_rank[ranks]

    def take(self, ranks: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the rows of these ranks."""
        numbers = self.rows_of(ranks)
        out = np.empty((len(ranks), self.dim), dtype=np.float32)
        for start in range(0, len(ranks), CHUNK):
            part = numbers[start : start + CHUNK]
            out[start : start + CHUNK] = unit_rows(self._X[part], what="rows", names=part)
            release_pages(self._X)
        return out

    def chunks(self) -> Iterator[tuple[Ranks, NDArray[np.float32]]]:
        """Yield all rows in the order in which the matrix has them."""
        ranks = None
        if self._row_of_rank is not None:
            ranks = np.empty_like(self._row_of_rank)
            ranks[self._row_of_rank] = np.arange(self.n_rows)
        for start in range(0, self.n_rows, CHUNK):
            part = slice(start, min(start + CHUNK, self.n_rows))
            yield part if ranks is None else ranks[part], unit_rows(self._X[part], what="rows", first=start)
            release_pages(self._X)


class SegmentsSource:
    """The rows of segments, as they keep them.

    Parameters
    ----------
    segments
        Where the rows are.
    ids
        Id of each row, ascending.
    """

    def __init__(self, segments: Sequence[Segment], ids: NDArray[np.int64]) -> None:
        self._segments, self._ids = segments, ids
        self.n_rows, self.dim = len(ids), segments[0].engine.dim
        self.n_chunks = -(-self.n_rows // CHUNK)

    def take(self, ranks: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the rows of these ranks."""
        return vectors_of(self._segments, self._ids[ranks])

    def chunks(self) -> Iterator[tuple[Ranks, NDArray[np.float32]]]:
        """Yield all rows in the order of their ids."""
        for start in range(0, self.n_rows, CHUNK):
            part = slice(start, min(start + CHUNK, self.n_rows))
            yield part, vectors_of(self._segments, self._ids[part])
