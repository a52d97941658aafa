"""Measure the times of single queries and of batches, with their recall."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines import Engine
    from numpy.typing import NDArray

    Search = Callable[[NDArray[np.float32], int], NDArray[np.int64]]  # queries, threads -> row numbers

_BUDGET = 3.0  # seconds for the single queries of one setting, and for its batch: slow engines run fewer
_AT_LEAST = 5  # queries that run at any cost


class Point(NamedTuple):
    """Times of one setting, in seconds per query."""

    p50: float
    p99: float
    single_threads: int
    batch: float
    n_single: int
    n_batch: int


def measured(
    engine: Engine,
    k: int,
    queries: NDArray[np.float32],
    warm: NDArray[np.float32],
    threads: int,
    setting: dict[str, Any],
    passing: Any = None,
) -> tuple[Point, NDArray[np.int64]]:
    """Return the times of a setting, and the neighbours of the batch."""

    def search(X: NDArray[np.float32], n_threads: int) -> NDArray[np.int64]:
        return engine.query(X, k, n_threads, setting, passing)

    each = {n: singles(search, queries, warm, n) for n in engine.single_threads if n <= threads}
    n_single = min(each, key=lambda n: np.median(each[n]))
    taken = each[n_single]
    n_batch = int(np.clip(_BUDGET / np.median(taken), _AT_LEAST, len(queries)))
    search(warm[:_AT_LEAST], threads)
    started = time.perf_counter()
    ids = search(queries[:n_batch], threads)
    batch = (time.perf_counter() - started) / n_batch
    p50, p99 = np.percentile(taken, (50, 99))
    return Point(float(p50), float(p99), n_single, batch, len(taken), n_batch), ids


def singles(search: Search, queries: NDArray[np.float32], warm: NDArray[np.float32], threads: int) -> list[float]:
    """Return the seconds of single queries, after warm-up queries."""
    taken: list[float] = []
    for X, keep in ((warm, False), (queries, True)):
        until = time.perf_counter() + (_BUDGET if keep else _BUDGET / 10)
        for row in range(len(X)):
            started = time.perf_counter()
            if started > until and row >= _AT_LEAST:
                break
            search(X[row : row + 1], threads)
            if keep:
                taken.append(time.perf_counter() - started)
    return taken
