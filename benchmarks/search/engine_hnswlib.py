"""hnswlib: a graph of the vectors in several layers."""

# ruff: noqa: ARG002, D102  (the signatures are those of `Engine`)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hnswlib
import numpy as np
from engines import Engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from data import Data
    from filters import Filter
    from numpy.typing import NDArray

EF = (50, 75, 100, 150, 200, 300, 400, 600, 800, 1200)
EF_WIDE = (10_000, 14_000, 20_000, 40_000)


class Hnswlib(Engine):
    """ef_construction 200; the size of the index is that of its file."""

    def __init__(self, M: int) -> None:
        self.M = M

    def build(self, data: Data, folder: Path, threads: int) -> None:
        index = hnswlib.Index("ip", data.base.shape[1])
        index.init_index(len(data.base), M=self.M, ef_construction=200, random_seed=0)
        index.add_items(data.base, num_threads=threads)
        index.save_index(str(folder / "index"))
        np.save(folder / "dim.npy", data.base.shape[1])

    def open(self, folder: Path, threads: int) -> None:
        self.index = hnswlib.Index("ip", int(np.load(folder / "dim.npy")))
        self.index.load_index(str(folder / "index"))

    def sweep(self, k: int) -> list[dict[str, Any]]:
        return [{"ef": ef} for ef in (EF if k <= EF[0] else EF_WIDE)]

    def prepare(self, passing: Filter) -> tuple[Callable[[int], bool], int]:
        # Python reads an element of a list faster than of an array.
        return passing.mask.tolist().__getitem__, int(passing.mask.sum())

    def query(
        self, X: NDArray[np.float32], k: int, threads: int, setting: dict[str, Any], passing: Any = None
    ) -> NDArray[np.int64]:
        self.index.set_ef(setting["ef"])
        if passing is None:
            return self.index.knn_query(X, k, num_threads=threads)[0].astype(np.int64)
        passes, n_passing = passing
        try:  # one thread, since the filter is Python; k is at most the number of passing rows
            ids, _ = self.index.knn_query(X, min(k, n_passing), num_threads=1, filter=passes)
        except RuntimeError:  # fewer than k were found: hnswlib raises instead of returning them
            return np.full((len(X), k), -1)
        return ids.astype(np.int64)
