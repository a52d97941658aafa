"""pynndescent: a graph of neighbours made by descent, asked by a walk."""

# ruff: noqa: ARG002, D102  (the methods are those of `Engine`, and not all need all that is said)

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from engines import Engine

if TYPE_CHECKING:
    from pathlib import Path

    from data import Data
    from numpy.typing import NDArray


class PyNNDescent(Engine):
    """Its defaults; its memory is what it pickles."""

    compiles: ClassVar[bool] = True

    def build(self, data: Data, folder: Path, threads: int) -> None:
        os.environ["NUMBA_NUM_THREADS"] = str(threads)
        from pynndescent import NNDescent  # noqa: PLC0415  (reads the number of threads when imported)

        index = NNDescent(data.base, metric="dot", random_state=0, n_jobs=threads, parallel_batch_queries=True)
        index.prepare()
        with (folder / "index").open("wb") as file:
            pickle.dump(index, file, protocol=5)

    def open(self, folder: Path, threads: int) -> None:
        os.environ["NUMBA_NUM_THREADS"] = str(threads)
        with (folder / "index").open("rb") as file:
            self.index = pickle.load(file)

    def sweep(self, k: int) -> list[dict[str, Any]]:
        return [{"epsilon": e} for e in ((0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8) if k <= 1000 else (0.05, 0.2))]

    def query(
        self, X: NDArray[np.float32], k: int, threads: int, setting: dict[str, Any], passing: Any = None
    ) -> NDArray[np.int64]:
        return self.index.query(X, k, **setting)[0].astype(np.int64)
