"""Simulated cells: unit vectors around a centroid of each label, drawn block by block, reproducibly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Cells:
    """`n` cells of some labels and studies; every block is a function of `seed` and of its first row."""

    n: int
    dim: int = 16
    n_labels: int = 6
    n_studies: int = 4
    spread: float = 0.3
    share_annotated: float = 0.34
    block: int = 100_000
    seed: int = 0

    def starts(self) -> range:
        """Return the first rows of the blocks."""
        return range(0, self.n, self.block)

    def rows(self, start: int) -> NDArray[np.int64]:
        """Return the numbers of a block's cells."""
        return np.arange(start, min(start + self.block, self.n))

    def _rng(self, start: int, what: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, what, start])

    def label(self, start: int) -> NDArray[np.int64]:
        """Return the number of each cell's label, (block,)."""
        return self._rng(start, 1).integers(0, self.n_labels, len(self.rows(start)))

    def study(self, start: int) -> NDArray[np.int64]:
        """Return the number of each cell's study, (block,): studies are contiguous, as in the published data."""
        return self.rows(start) * self.n_studies // self.n

    def annotated(self, start: int) -> NDArray[np.bool_]:
        """Return which cells are in the annotation index, (block,)."""
        return self._rng(start, 2).random(len(self.rows(start))) < self.share_annotated

    def vectors(self, start: int) -> NDArray[np.float32]:
        """Return the cells' embeddings, (block, dim), unit rows."""
        centres = np.random.default_rng([self.seed, 3]).normal(size=(self.n_labels, self.dim)).astype(np.float32)
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        noise = self._rng(start, 4).standard_normal((len(self.rows(start)), self.dim), np.float32)
        x = centres[self.label(start)] + noise * np.float32(self.spread / self.dim**0.5)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        return x

    def all_vectors(self) -> Iterator[NDArray[np.float32]]:
        """Yield the embeddings of all cells, a block at a time."""
        yield from (self.vectors(start) for start in self.starts())
