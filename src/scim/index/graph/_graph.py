"""A graph of neighbours, made by pynndescent and walked by our own kernel.

pynndescent saves itself by pickle only, and its search depends on the state of a generator that moves with each query.
Here it makes the graph of nearest neighbours; the graph, made symmetric, is kept as two arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from scim._core.checks import check_count
from scim.index._engine import Engine
from scim.index._threads import threads_for
from scim.index.exact._distances import measure
from scim.index.exact._exact import ranks_of
from scim.index.exact._nearest import nearest
from scim.index.exact._topk import empty_heaps, sort_rows
from scim.index.graph._neighbours import landmarks_of, link, neighbours_of
from scim.index.graph._walk import walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from scim.index._engine import Passing
    from scim.index.exact._exact import Ranks

_ENTRIES = 4  # one in so many places of the rows in view is taken by a landmark at the start
_N_TASKS = 8  # walks at a time at most, each with room for a mark on every row
_TIGHT = 0.25  # share of allowed rows below which they are measured one and all
_LARGE = 0.1  # share of the rows in view above which a walk costs more than measuring all


class GraphEngine(Engine):
    """Rows, links between them, and the landmarks from which walks start."""

    kind: ClassVar[str] = "graph"
    files: ClassVar[tuple[str, ...]] = ("rows", "starts", "targets", "landmarks")
    knobs: ClassVar[tuple[str, ...]] = ("effort",)

    def __init__(self, arrays: Mapping[str, NDArray[Any]], params: dict[str, Any]) -> None:
        self._rows: NDArray[np.float32] = arrays["rows"]
        self.n_rows, self.dim = self._rows.shape
        self._starts: NDArray[np.int64] = arrays["starts"]
        self._targets: NDArray[np.int32] = arrays["targets"]
        self._landmarks: NDArray[np.int64] = arrays["landmarks"]
        self._params = params

    @property
    def params(self) -> dict[str, Any]:
        """`n_neighbors` and `effort` as given to :func:`scim.index.build`."""
        return self._params

    @classmethod
    def from_rows(
        cls,
        rows: NDArray[np.float32],
        rng: np.random.Generator,
        *,
        n_neighbors: int = 24,
        effort: int = 128,
    ) -> GraphEngine:
        """Build from unit rows."""
        check_count("n_neighbors", n_neighbors)
        check_count("effort", effort)
        starts, targets = link(rows, neighbours_of(rows, int(n_neighbors), rng))
        landmarks = landmarks_of(starts, targets, rng)
        arrays: dict[str, NDArray[Any]] = {"rows": rows, "starts": starts, "targets": targets, "landmarks": landmarks}
        return cls(arrays, {"n_neighbors": int(n_neighbors), "effort": int(effort)})

    def lay_out(self, passing: Passing) -> Ranks:
        """Return the ranks that pass."""
        return ranks_of(passing)

    def search(
        self,
        X: NDArray[np.float32],
        k: int,
        some: Ranks | None,
        n_threads: int | None,
        *,
        effort: int | None = None,
        **knobs: Any,  # noqa: ARG002  (there are no others)
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the nearest; `effort` is the number of rows kept in view during a walk."""
        allowed = None if some is None else some.ranks
        share = 1.0 if allowed is None else len(allowed) / self.n_rows
        effort = int(max(k, self._params["effort"] if effort is None else effort) / share)
        n_seen = min(self.n_rows, effort * self._params["n_neighbors"])
        with threads_for(X.size * n_seen, n_threads):
            if share < _TIGHT or effort > _LARGE * self.n_rows:
                return nearest(X, self._rows, k, which=allowed)
            distances, ranks = self._walk(X, effort, allowed)
            distances, ranks = distances[:, :k].copy(), ranks[:, :k].copy()
            short = np.flatnonzero(ranks[:, -1] < 0)
            if len(short):
                distances[short], ranks[short] = nearest(X[short], self._rows, k, which=allowed)
        return distances, ranks

    def _walk(
        self, X: NDArray[np.float32], effort: int, allowed: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        # Many landmarks: around a query that lies between clusters, those near each of them.
        n_entries = min(effort // _ENTRIES + 1, len(self._landmarks))
        _, entries = nearest(X, self._rows, n_entries, which=self._landmarks)
        values, ranks = empty_heaps(len(X), effort)
        n_tasks = min(len(X), _N_TASKS)
        seen = np.zeros((n_tasks, self.n_rows), dtype=np.int32)
        done = np.empty((n_tasks, effort), dtype=np.bool_)
        walk(X, self._rows, self._starts, self._targets, entries.astype(np.int32), seen, done, values, ranks)
        if allowed is not None:
            passes = np.zeros(self.n_rows, dtype=np.bool_)
            passes[allowed] = True
            ranks[~passes[ranks]] = -1
        distances = measure(X, self._rows, ranks)
        sort_rows(distances, ranks)
        return distances, ranks

    def vectors(self, ranks: NDArray[np.int64], n: int | None = None) -> NDArray[np.float32]:
        """Return the rows of these ranks, or the first `n` numbers of each."""
        return self._rows[ranks, :n]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays named in `files`."""
        return {"rows": self._rows, "starts": self._starts, "targets": self._targets, "landmarks": self._landmarks}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], params: dict[str, Any]) -> GraphEngine:
        """Return the engine of these arrays."""
        return cls(arrays, params)
