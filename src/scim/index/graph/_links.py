"""Link rows with their nearest rows, in both directions, and choose landmarks to start walks from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.cosine import is_directed
from scim._core.fork import refuse_fork
from scim._core.kernel_cache import cache_folder
from scim._core.nearest import nearest
from scim._core.numba import one_at_a_time

if TYPE_CHECKING:
    from scim._core.types import Floats, Ints, Ints32

# Multiplications up to which all rows are measured, 88,000 rows of 64 numbers: pynndescent, which first imports and
# compiles for 40 seconds, takes longer (benchmarks/NOTES.md).
_EXACT_UP_TO = 500_000_000_000
_LANDMARKS = 4  # times the square root of the number of rows


def neighbours_of(rows: Floats, n_neighbors: int, rng: np.random.Generator) -> Ints:
    """Return the nearest rows of each row, (n, m), itself among them or not, -1 for none."""
    n, dim = rows.shape
    if n * n * dim <= _EXACT_UP_TO or n <= 2 * n_neighbors:
        return nearest(rows, rows, min(n, n_neighbors + 1))[1]
    refuse_fork("Making a graph of so many rows")
    with cache_folder():
        from pynndescent import NNDescent  # noqa: PLC0415  (importing it takes seconds)

    # Euclidean distances of unit rows are in the order of their cosine distances, and rows of zeros have some.
    # One job: with more, rows are updated in whichever order the threads come.
    seed = int(rng.integers(2**31 - 1))
    with one_at_a_time():
        made = NNDescent(rows, metric="euclidean", n_neighbors=n_neighbors + 1, random_state=seed, n_jobs=1)
        neighbours: Ints = made.neighbor_graph[0].astype(np.int64)
    return neighbours


def link(rows: Floats, neighbours: Ints) -> tuple[Ints, Ints32]:
    """Return the `starts` and `targets` of links in both directions, the nearest, at most 2 * m a row.

    Rows of zeros have none.
    """
    n, m = neighbours.shape
    directed = is_directed(rows)
    source = np.repeat(np.arange(n), m)
    target = neighbours.ravel()
    real = (target >= 0) & (target != source) & directed[source] & directed[target]
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
