"""How far a search must reach for a recall: measured on a sample of the rows against exact search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.mmap import release_pages
from scim.index.exact._nearest import nearest
from scim.index.exact._topk import sort_rows
from scim.index.ivf._curve import K, Point, point_for, with_care
from scim.index.ivf._lists import ALL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.index._source import Source
    from scim.index.ivf._ivf import IvfEngine

_N_SAMPLE = 500
_N_FAR = 50
"""Queries of the sample that are asked where each costs much."""
_REACHES = (0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.36, 0.43, 0.5, 0.6, 0.75, 1)
_FARTHER = (1.5, 2.5, 5, 1e6)  # the last takes in all lists
_DEPTHS = (0.5, 1, 2, 3, 5, 8, 12, 18)
_THIN = 16
"""One of so many rows passes the filter that `shrink` is measured with."""
_SHRINKS = (0.25, 0.2, 0.15, 0.1, 0.05)
_ENOUGH = 0.9995
"""Recall beyond which nothing more is tried."""
_LITTLE = 0.0003
"""Recall that is not worth a farther reach."""
_PER_CANDIDATE = 20
"""Rows that are scanned in the time that one candidate is measured in."""


class Truth:
    """The nearest rows of a sample of rows, found as the rows pass by."""

    def __init__(self, ranks: NDArray[np.int64], rows: NDArray[np.float32], k: int) -> None:
        self.own, self.rows = ranks, rows
        self._distances = np.full((len(rows), k), np.inf, dtype=np.float32)
        self.ranks = np.full((len(rows), k), -1, dtype=np.int64)

    @classmethod
    def of(cls, source: Source, rng: np.random.Generator) -> Truth:
        """Draw the sample."""
        n = source.n_rows
        ranks = np.sort(rng.choice(n, min(n, _N_SAMPLE), replace=False))
        return cls(ranks, source.take(ranks), min(n, K + 1))

    def thinned(self, n_rows: int) -> Truth:
        """Return the same sample, to meet only rows whose rank :func:`is_thin` lets pass."""
        return Truth(self.own, self.rows, min(-(-n_rows // _THIN), K + 1))

    def meet(self, ranks: NDArray[np.int64] | slice, rows: NDArray[np.float32]) -> None:
        """Let the sample meet more rows."""
        if len(rows) == 0:
            return
        distances, some = nearest(self.rows, rows, min(len(rows), self.ranks.shape[1]))
        names = some + ranks.start if isinstance(ranks, slice) else ranks[some]
        distances = np.concatenate([self._distances, distances], axis=1)
        names = np.concatenate([self.ranks, names], axis=1)
        sort_rows(distances, names)
        k = self.ranks.shape[1]
        self._distances, self.ranks = distances[:, :k].copy(), names[:, :k].copy()

    def recall(self, ranks: NDArray[np.int64]) -> float:
        """Return the share of the true neighbours, the sampled row itself left out, that was found."""
        own, truth = self.own[: len(ranks), None], self.ranks[: len(ranks)]
        wanted, found = (np.where(r == own, -1 - i, r) for i, r in enumerate((truth, ranks)))
        offset = np.arange(len(wanted))[:, None] * (1 << 32)
        true = (wanted + offset)[wanted >= 0]
        return float(np.isin(true, found + offset).mean()) if true.size else 1.0


def is_thin(ranks: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which ranks pass a filter that lets few rows pass, and those everywhere."""
    passes: NDArray[np.bool_] = ranks % _THIN == 0
    return passes


def calibrate(engine: IvfEngine, truth: Truth, thin: Truth, recall: float) -> dict[str, Any]:
    """Return the parameters of an index: `recall`; `reach`, `depth`, `shrink` for it; `n_scanned`, and the curve.

    The curve has the points (reach, depth) that no other beats in both recall and cost.
    """
    points: list[Point] = []
    for depth in _DEPTHS:
        points += _follow(engine, truth, depth, _REACHES, len(truth.own))
        if max(point["recall"] for point in points) > _ENOUGH:
            break
    if max(point["recall"] for point in points) < with_care(recall):
        points += _follow(engine, truth, _DEPTHS[-1], _FARTHER, _N_FAR)
    curve: list[Point] = []
    for point in sorted(points, key=lambda point: (_cost(point), -point["recall"])):
        if not curve or point["recall"] > curve[-1]["recall"]:
            curve.append(point)
    chosen = point_for(curve, recall)
    found = {"reach": chosen["reach"], "depth": chosen["depth"], "n_scanned": chosen["n_scanned"]}
    return {"recall": float(recall), **found, "shrink": _shrink(engine, thin, chosen, recall), "curve": curve}


def _shrink(engine: IvfEngine, thin: Truth, chosen: Point, recall: float) -> float:
    """Return the largest power that leaves the recall of a thin filter what was asked for."""
    k = thin.ranks.shape[1]
    if engine.n_rows < _THIN * k:
        return 0.0
    some = engine.lay_out(is_thin(engine.ranks_at(np.arange(engine.n_rows))))
    m = min(some.n, k + engine.spare(k, chosen["depth"]))
    for shrink in _SHRINKS:
        if thin.recall(engine.answer(thin.rows, k, m, some, chosen["reach"], shrink)[1]) >= with_care(recall):
            return shrink
    return 0.0


def _follow(engine: IvfEngine, truth: Truth, depth: float, reaches: tuple[float, ...], n_queries: int) -> list[Point]:
    """Measure one depth, farther and farther, until it brings nothing."""
    k, points, before = truth.ranks.shape[1], list[Point](), -1.0
    X = truth.rows[:n_queries]
    for reach in reaches:
        m = min(engine.n_rows, k + engine.spare(k, depth))
        _, ranks, scanned = engine.answer(X, k, m, ALL, reach)
        for array in engine.arrays().values():
            release_pages(array)
        found = truth.recall(ranks)
        points.append(Point(reach=float(reach), depth=float(depth), recall=found, n_scanned=float(scanned.mean())))
        if found > _ENOUGH or found < before + _LITTLE:
            break
        before = found
    return points


def _cost(point: Point) -> float:
    return point["n_scanned"] + _PER_CANDIDATE * K * point["depth"]
