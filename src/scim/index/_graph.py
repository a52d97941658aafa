"""An index of kind `graph`: a graph of neighbours, made by pynndescent and searched best-first by our own kernel.

pynndescent saves itself by pickle only, and its search depends on a generator that moves with each query. Here its
graph of nearest neighbours, made symmetric, is stored as two arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from scim._core import check_count
from scim._core.cosine import measure
from scim._core.nearest import nearest
from scim._core.numba import njit, njit_parallel, prange, threads
from scim._core.topk import empty_heaps, sort_rows
from scim.index._engine import ExactEngine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.types import Bools, Floats, Ints, Ints32
    from scim.index._engine import Hits
    from scim.index._files import Arrays

_ENTRIES = 4  # one in so many of the `ef_search` candidates is a landmark at the start
_N_TASKS = 8  # walks at a time at most, each with a mark for every row
_TIGHT = 0.25  # filter selectivity below which all passing rows are measured
_LARGE = 0.1  # share of the rows among the candidates above which a walk costs more than measuring all
_EXACT_UP_TO = 2_000  # rows whose neighbours are found by measuring all
_LANDMARKS = 4  # times the square root of the number of rows


class GraphEngine(ExactEngine):
    """Rows in full precision, links between them, and the landmarks from which walks start."""

    kind: ClassVar[str] = "graph"
    files: ClassVar[tuple[str, ...]] = ("rows", "starts", "targets", "landmarks")
    build_params: ClassVar[tuple[str, ...]] = ("n_neighbors", "ef_search")
    search_params: ClassVar[tuple[str, ...]] = ("ef_search",)

    def __init__(self, arrays: dict[str, NDArray[Any]], params: dict[str, Any]) -> None:
        super().__init__(arrays["rows"])
        self._arrays, self.params = arrays, params

    @classmethod
    def from_rows(
        cls, rows: Floats, rng: np.random.Generator, *, n_neighbors: int = 24, ef_search: int = 128
    ) -> GraphEngine:
        """Build from unit rows."""
        check_count("n_neighbors", n_neighbors)
        check_count("ef_search", ef_search)
        starts, targets = link(rows, neighbours_of(rows, int(n_neighbors), rng))
        landmarks = landmarks_of(starts, targets, rng)
        arrays: dict[str, NDArray[Any]] = {"rows": rows, "starts": starts, "targets": targets, "landmarks": landmarks}
        return cls(arrays, {"n_neighbors": int(n_neighbors), "ef_search": int(ef_search)})

    def search(self, X: Floats, k: int, row_filter: Ints | None, n_threads: int | None, **params: Any) -> Hits:
        """Return the nearest rows; `ef_search` is the number of candidates that a walk holds."""
        selectivity = 1.0 if row_filter is None else len(row_filter) / self.n_rows
        ef = int(max(k, params.get("ef_search") or self.params["ef_search"]) / selectivity)
        n_measured = min(self.n_rows, ef * self.params["n_neighbors"])
        with threads(n_threads, work=X.size * n_measured):
            if selectivity < _TIGHT or ef > _LARGE * self.n_rows:
                return nearest(X, self._rows, k, which=row_filter)
            distances, ranks = self._walk(X, ef, row_filter)
            distances, ranks = distances[:, :k].copy(), ranks[:, :k].copy()
            short = np.flatnonzero(ranks[:, -1] < 0)
            if len(short):
                distances[short], ranks[short] = nearest(X[short], self._rows, k, which=row_filter)
        return distances, ranks

    def _walk(self, X: Floats, ef: int, row_filter: Ints | None) -> Hits:
        # Many landmarks: around a query that lies between clusters, those near each of them.
        landmarks, starts, targets = (self._arrays[name] for name in ("landmarks", "starts", "targets"))
        _, entries = nearest(X, self._rows, min(ef // _ENTRIES + 1, len(landmarks)), which=landmarks)
        values, ranks = empty_heaps(len(X), ef)
        n_tasks = min(len(X), _N_TASKS)
        seen = np.zeros((n_tasks, self.n_rows), dtype=np.int32)
        done = np.empty((n_tasks, ef), dtype=np.bool_)
        walk(X, self._rows, starts, targets, entries.astype(np.int32), seen, done, values, ranks)
        if row_filter is not None:
            passes = np.zeros(self.n_rows, dtype=np.bool_)
            passes[row_filter] = True
            ranks[~passes[ranks]] = -1
        distances = measure(X, self._rows, ranks)
        sort_rows(distances, ranks)
        return distances, ranks

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays named in `files`."""
        return self._arrays

    @classmethod
    def restore(cls, arrays: Arrays, params: dict[str, Any]) -> GraphEngine:
        """Return the engine of these arrays."""
        return cls({name: arrays[name] for name in cls.files}, params)


def neighbours_of(rows: Floats, n_neighbors: int, rng: np.random.Generator) -> Ints:
    """Return the nearest rows of each row, (n, m), itself among them or not, -1 for none."""
    if len(rows) <= max(_EXACT_UP_TO, 2 * n_neighbors):
        return nearest(rows, rows, min(len(rows), n_neighbors + 1))[1]
    from pynndescent import NNDescent  # noqa: PLC0415  (importing it takes seconds)

    # Euclidean distances of unit rows are in the order of their cosine distances, and rows of zeros have them too.
    # One job: with more, rows are updated in whichever order the threads come.
    seed = int(rng.integers(2**31 - 1))
    made = NNDescent(rows, metric="euclidean", n_neighbors=n_neighbors + 1, random_state=seed, n_jobs=1)
    neighbours: Ints = made.neighbor_graph[0].astype(np.int64)
    return neighbours


def link(rows: Floats, neighbours: Ints) -> tuple[Ints, Ints32]:
    """Return the `starts` and `targets` of links in both directions, the nearest, at most 2 * m a row."""
    n, m = neighbours.shape
    source = np.repeat(np.arange(n), m)
    target = neighbours.ravel()
    real = (target >= 0) & (target != source)
    source, target = source[real], target[real]
    pairs = np.unique(np.concatenate([source * n + target, target * n + source]))
    source, target = np.divmod(pairs, n)
    distance = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), 1 << 20):
        chunk = slice(start, start + (1 << 20))
        distance[chunk] = 1 - np.einsum("ij,ij->i", rows[source[chunk]], rows[target[chunk]])
    nearest_first = np.lexsort((target, distance, source))
    source, target = source[nearest_first], target[nearest_first]
    starts = np.searchsorted(source, np.arange(n + 1))
    kept = np.arange(len(source)) - starts[source] < 2 * m
    source, target = source[kept], target[kept]
    return np.searchsorted(source, np.arange(n + 1)).astype(np.int64), target.astype(np.int32)


def landmarks_of(starts: Ints, targets: Ints32, rng: np.random.Generator) -> Ints:
    """Return ranks, ascending, to start walks from: a sample, and one row of each connected component."""
    from scipy.sparse import csr_array  # noqa: PLC0415  (only for building)
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    n = len(starts) - 1
    graph = csr_array((np.ones(len(targets), dtype=np.int8), targets, starts), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    sample = rng.choice(n, min(n, round(_LANDMARKS * n**0.5)), replace=False)
    return np.union1d(first, sample).astype(np.int64)


@njit
def insert(values: Floats, ranks: Ints, done: Bools, value: np.float32 | float, rank: int) -> int:
    """Insert a pair into a full ascending list, dropping the last; return its position, or the length if too far."""
    size = values.shape[0]
    if value > values[size - 1] or (value == values[size - 1] and 0 <= ranks[size - 1] < rank):
        return int(size)
    at = size - 1
    while at > 0 and (value < values[at - 1] or (value == values[at - 1] and rank < ranks[at - 1])):
        values[at], ranks[at], done[at] = values[at - 1], ranks[at - 1], done[at - 1]
        at -= 1
    values[at], ranks[at], done[at] = value, rank, False
    return int(at)


@njit
def visit(
    query: Floats, rows: Floats, targets: Ints32, seen: Ints32, stamp: int, values: Floats, ranks: Ints, done: Bools
) -> int:
    """Insert the rows not seen before and return the first position that was written."""
    first = values.shape[0]
    for target in targets:
        if seen[target] == stamp:
            continue
        seen[target] = stamp
        row = rows[target]
        dot = np.float32(0)
        for d in range(query.shape[0]):
            dot += query[d] * row[d]
        first = min(first, insert(values, ranks, done, -dot, target))
    return int(first)


@njit_parallel
def walk(
    X: Floats,
    rows: Floats,
    starts: Ints,
    targets: Ints32,
    entries: Ints32,
    seen: Ints32,
    done: Bools,
    values: Floats,
    ranks: Ints,
) -> None:
    """Fill the candidates of each query, (n, ef_search), starting from its entries (n, n_entries).

    The nearest candidate that was not expanded yet is expanded next, until there is none.
    `seen` (n_tasks, n_rows), zero at the start, and `done` (n_tasks, ef_search) are working memory, one row a task.
    """
    n_tasks = seen.shape[0]
    for task in prange(n_tasks):
        expanded = done[task]
        for i in range(task, X.shape[0], n_tasks):
            expanded[:] = True
            visit(X[i], rows, entries[i], seen[task], i + 1, values[i], ranks[i], expanded)
            at = 0
            while at < expanded.shape[0]:
                if expanded[at]:
                    at += 1
                    continue
                expanded[at] = True
                node = ranks[i, at]
                linked = targets[starts[node] : starts[node + 1]]
                at = min(at, visit(X[i], rows, linked, seen[task], i + 1, values[i], ranks[i], expanded))
