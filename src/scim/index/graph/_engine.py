"""An index of kind `graph`: rows linked with their neighbours, and walks along the links.

pynndescent saves itself by pickle only, and its search depends on a generator that moves with each query. Here the
graph of nearest neighbours, made symmetric, is stored as two arrays, and searched by our own kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import numpy as np

from scim._core import check_count, check_recall
from scim._core.cosine import is_directed, measure
from scim._core.nearest import nearest
from scim._core.numba import threads
from scim._core.topk import sort_rows
from scim.index._check import are_starts, are_within, is_ascending
from scim.index._engine import ExactEngine, read_rows
from scim.index._header import MOST_NEIGHBORS
from scim.index._truth import K, Truth, with_margin
from scim.index.graph._links import landmarks_of, link, neighbours_of
from scim.index.graph._walk import EMPTY, ranks_of, walk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from scim._core.types import Floats, Ints, Ints32
    from scim.index._engine import Hits
    from scim.index._files import Arrays

_ENTRIES = 4  # one in so many of the `ef_search` candidates is a landmark at the start
_N_TASKS = 8  # walks at a time at most, each with a mark for every row
_LAST_STAMP = 2**31 - 1
_TIGHT = 0.25  # filter selectivity below which all passing rows are measured
_LARGE = 0.02  # share of the rows among the candidates above which a walk costs more than measuring all
_N_NEIGHBORS = 24
_RECALL = 0.99
_GROWTH = 0.6  # power of `k` that the candidates beyond it grow with
_CANDIDATES = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)  # that are tried for a recall
_MAX_RECALL = 0.9995  # recall beyond which nothing more is tried


class Point(TypedDict):
    """A number of candidates, and what was measured with it."""

    ef_search: int
    recall: float
    n_measured: float


class GraphEngine(ExactEngine):
    """Rows in full precision, links between them, and the landmarks from which walks start."""

    kind: ClassVar[str] = "graph"
    files: ClassVar[Mapping[str, str]] = {"rows": "<f4", "starts": "<i8", "targets": "<i4", "landmarks": "<i8"}
    build_params: ClassVar[tuple[str, ...]] = ("recall", "n_neighbors", "ef_search")
    search_params: ClassVar[tuple[str, ...]] = ("recall", "ef_search")

    def __init__(self, arrays: dict[str, NDArray[Any]], params: dict[str, Any]) -> None:
        super().__init__(arrays["rows"])
        self._arrays, self.params = arrays, params
        self._seen: dict[int, tuple[Ints32, int]] = {}  # by number of tasks: zeroing them takes as long as a walk

    @classmethod
    def from_rows(
        cls,
        rows: Floats,
        rng: np.random.Generator,
        *,
        recall: float | None = None,
        n_neighbors: int = _N_NEIGHBORS,
        ef_search: int | None = None,
    ) -> GraphEngine:
        """Build from unit rows; without `ef_search`, walks hold as many candidates as the recall needs."""
        check_count("n_neighbors", n_neighbors, most=MOST_NEIGHBORS)
        check_count("ef_search", 1 if ef_search is None else ef_search)
        check_recall(_RECALL if recall is None else recall)
        if recall is not None and ef_search is not None:
            msg = "Pass recall= or ef_search=, not both: the recall determines the number of candidates."
            raise ValueError(msg)
        starts, targets = link(rows, neighbours_of(rows, int(n_neighbors), rng))
        landmarks = landmarks_of(starts, targets, rng)
        landmarks = landmarks[is_directed(rows[landmarks])]  # each row of zeros is a component of its own
        arrays: dict[str, NDArray[Any]] = {"rows": rows, "starts": starts, "targets": targets, "landmarks": landmarks}
        engine = cls(arrays, {"n_neighbors": int(n_neighbors)})
        if ef_search is None:
            engine.params |= calibrate(engine, rng, _RECALL if recall is None else float(recall))
        else:
            engine.params |= {"ef_search": int(ef_search)}
        return engine

    def search(self, X: Floats, k: int, row_filter: Ints | None, n_threads: int | None, **params: Any) -> Hits:
        """Return the nearest rows; `ef_search` is the number of candidates that a walk holds."""
        selectivity = 1.0 if row_filter is None else len(row_filter) / self.n_rows
        ef = int(self._n_candidates(k, params) / selectivity)
        n_measured = min(self.n_rows, ef * self.params["n_neighbors"])
        with threads(n_threads, work=X.size * n_measured):
            if selectivity < _TIGHT or ef > _LARGE * self.n_rows:
                return nearest(X, self._rows, k, which=row_filter)
            distances, ranks, _ = self.walk(X, ef, row_filter)
            distances, ranks = distances[:, :k].copy(), ranks[:, :k].copy()
            short = np.flatnonzero(ranks[:, -1] < 0)
            if len(short):
                distances[short], ranks[short] = nearest(X[short], self._rows, k, which=row_filter)
        return distances, ranks

    def _n_candidates(self, k: int, params: dict[str, Any]) -> int:
        """Return the candidates that a walk holds: as measured for `K` neighbours, and more for more."""
        if params.get("ef_search"):
            return max(k, int(params["ef_search"]))
        recall, curve = params.get("recall"), self.params.get("curve")
        if curve is None:
            if recall is not None:
                msg = "This graph was built with ef_search=, and no recall was measured; pass ef_search= to the query."
                raise ValueError(msg)
            return max(k, int(self.params["ef_search"]))
        chosen = self.params if recall is None else point_for(curve, float(recall))
        return int(k + max(0, chosen["ef_search"] - K) * max(1.0, k / K) ** _GROWTH)

    @property
    def given(self) -> dict[str, Any]:
        """Parameters to build with once more: the recall, if the number of candidates follows from it."""
        left_out = "ef_search" if "recall" in self.params else ""
        return {name: value for name, value in super().given.items() if name != left_out}

    def walk(
        self, X: Floats, ef: int, row_filter: Ints | None = None, held_out: Ints | None = None
    ) -> tuple[Floats, Ints, Ints]:
        """Return distances and ranks of the candidates, (n, ef), nearest first, and the number of rows measured (n,).

        `held_out`, (n,), is a row for each query that counts as not in the graph.
        """
        # Many landmarks: around a query that lies between clusters, those near each of them.
        landmarks, starts, targets = (self._arrays[name] for name in ("landmarks", "starts", "targets"))
        _, entries = nearest(X, self._rows, min(ef // _ENTRIES + 1, len(landmarks)), which=landmarks)
        keys, measured = np.full((len(X), ef), EMPTY), np.zeros(len(X), dtype=np.int64)
        left_out = np.empty(0, dtype=np.int64) if held_out is None else held_out
        seen, stamp = self._marks(len(X))
        walk(X, self._rows, starts, targets, entries.astype(np.int32), left_out, seen, stamp, keys, measured)
        self._seen[len(seen)] = seen, stamp + len(X)
        ranks = ranks_of(keys)
        if row_filter is not None:
            passes = np.zeros(self.n_rows, dtype=np.bool_)
            passes[row_filter] = True
            ranks[~passes[ranks]] = -1
        distances = measure(X, self._rows, ranks)
        sort_rows(distances, ranks)
        return distances, ranks, measured + len(landmarks)

    def _marks(self, n_queries: int) -> tuple[Ints32, int]:
        """Return marks of the rows that each walk has seen, and the first number that is not among them."""
        n_tasks = min(n_queries, _N_TASKS)
        seen, stamp = self._seen.pop(n_tasks, (None, 1))  # taken out while a search works with it
        if seen is None or stamp + n_queries > _LAST_STAMP:
            return np.zeros((n_tasks, self.n_rows), dtype=np.int32), 1
        return seen, stamp

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays named in `files`."""
        return self._arrays

    @classmethod
    def restore(cls, arrays: Arrays, params: dict[str, Any]) -> GraphEngine:
        """Return the engine of these arrays."""
        found = {"rows": read_rows(arrays, "rows")} | {name: arrays[name] for name in cls.files if name != "rows"}
        rows, starts, targets, landmarks = (found[name] for name in cls.files)
        n = len(rows)
        arrays.check_shape("starts", starts, n + 1)
        arrays.check_shape("targets", targets, targets.size)
        arrays.check_shape("landmarks", landmarks, landmarks.size)
        arrays.check("starts", "links that do not follow each other", unless=are_starts(starts, len(targets)))
        arrays.check("targets", "links to rows that do not exist", unless=are_within(targets, n))
        are_rows = are_within(landmarks, n) and is_ascending(landmarks)
        arrays.check("landmarks", "landmarks that do not exist, or in another order", unless=are_rows)
        return cls(found, params)


def point_for(curve: Sequence[Point], recall: float) -> Point:
    """Return the first point that finds `recall` of the neighbours and a little more; the last measures all rows."""
    return next((point for point in curve[:-1] if recall < 1 and point["recall"] >= with_margin(recall)), curve[-1])


def calibrate(engine: GraphEngine, rng: np.random.Generator, recall: float) -> dict[str, Any]:
    """Return the number of candidates for a recall, and the `curve` of what was measured with others.

    The queries are rows, each held out of its walk: the links of a query's own row lead to all of its neighbours.
    """
    n, rows = engine.n_rows, engine.arrays()["rows"]
    sample = np.sort(rng.choice(n, min(n, 500), replace=False))
    sample = sample[is_directed(rows[sample])]
    truth = Truth(sample, rows[sample], min(n, K + 1))
    truth.update(slice(0, n), rows)
    curve: list[Point] = []
    for ef in _CANDIDATES if len(sample) else ():
        if ef > _LARGE * n:
            break
        _, ranks, measured = engine.walk(truth.rows, ef, held_out=sample)
        found = truth.recall(np.ascontiguousarray(ranks[:, :K]))
        curve.append(Point(ef_search=ef, recall=found, n_measured=float(measured.mean())))
        if found > max(_MAX_RECALL, with_margin(recall)):
            break
    curve.append(Point(ef_search=n, recall=1.0, n_measured=float(n)))
    chosen = point_for(curve, recall)
    return {"recall": recall, "ef_search": chosen["ef_search"], "n_measured": chosen["n_measured"], "curve": curve}
