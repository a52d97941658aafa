"""pynndescent: a kNN graph built by neighbour descent, searched by a walk on the graph."""

# ruff: noqa: ARG002, D102  (the signatures are those of `Engine`)

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from engines import Engine

if TYPE_CHECKING:
    from pathlib import Path

    from data import Data
    from numpy.typing import NDArray


class PyNNDescent(Engine):
    """The defaults of pynndescent. It saves by pickle only, so `open` builds the index again."""

    compiles: ClassVar[bool] = True

    def build(self, data: Data, folder: Path, threads: int) -> None:
        index = self._made(data.base, threads)
        np.save(folder / "rows.npy", data.base)
        np.save(folder / "graph.npy", index.neighbor_graph[0])

    def open(self, folder: Path, threads: int) -> None:
        self.index = self._made(np.load(folder / "rows.npy"), threads)

    def _made(self, rows: NDArray[np.float32], threads: int) -> Any:
        os.environ["NUMBA_NUM_THREADS"] = str(threads)
        from pynndescent import NNDescent  # noqa: PLC0415  (reads the number of threads when imported)

        index = NNDescent(rows, metric="dot", random_state=0, n_jobs=threads, parallel_batch_queries=True)
        index.prepare()
        return index

    def sweep(self, k: int) -> list[dict[str, Any]]:
        return [{"epsilon": e} for e in ((0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8) if k <= 1000 else (0.05, 0.2))]

    def query(
        self, X: NDArray[np.float32], k: int, threads: int, setting: dict[str, Any], passing: Any = None
    ) -> NDArray[np.int64]:
        return self.index.query(X, k, **setting)[0].astype(np.int64)
