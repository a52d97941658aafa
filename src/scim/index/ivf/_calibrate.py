"""Calibrate the search parameters for a recall: measured on a sample of the rows against exact search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from scim.index._truth import K, with_margin
from scim.io import release_pages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.types import Bools
    from scim.index._truth import Truth
    from scim.index.ivf._engine import IvfEngine

_N_FAR = 50  # queries of the sample that are searched where each costs much
_PROBE_FACTORS = (0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.36, 0.43, 0.5, 0.6, 0.75, 1.0)
_LARGE_PROBE_FACTORS = (1.5, 2.5, 5.0, 1e6)  # the last probes all lists
_RERANK_FACTORS = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 18.0)
_SELECTIVITY = 16  # one of so many rows passes the filter that `filter_decay` is measured with
_FILTER_DECAYS = (0.25, 0.2, 0.15, 0.1, 0.05)
_MAX_RECALL = 0.9995  # recall beyond which nothing more is tried
_MIN_GAIN = 0.0003  # recall that is not worth a larger probe factor
_PER_CANDIDATE = 20  # rows that are scanned in the time that one candidate is re-ranked in


class Point(TypedDict):
    """A pair of search parameters, and what was measured with it."""

    probe_factor: float
    rerank_factor: float
    recall: float
    n_scanned: float


def point_for(curve: list[Point], recall: float) -> Point:
    """Return the cheapest point that finds `recall` of the neighbours and a little more, or the best there is."""
    return next((point for point in curve if point["recall"] >= with_margin(recall)), curve[-1])


def is_thin(ranks: NDArray[np.integer]) -> Bools:
    """Return which ranks pass a filter of low selectivity that passes rows everywhere."""
    passes: Bools = ranks % _SELECTIVITY == 0
    return passes


def thinned(truth: Truth, n_rows: int) -> Truth:
    """Return the same sample, to be compared only with rows of a rank that :func:`is_thin`."""
    return truth.compared_with(-(-n_rows // _SELECTIVITY))


def calibrate(engine: IvfEngine, truth: Truth, thin: Truth, recall: float) -> dict[str, Any]:
    """Return the parameters for a recall, and the `curve` of points that no other beats in both recall and cost."""
    points: list[Point] = []
    if not len(truth.rows):  # all rows are zero: nothing can be found
        points.append(Point(probe_factor=0.0, rerank_factor=_RERANK_FACTORS[0], recall=1.0, n_scanned=0.0))
    for rerank_factor in _RERANK_FACTORS if len(truth.rows) else ():
        points += _measure(engine, truth, rerank_factor, _PROBE_FACTORS, len(truth.sample_ranks))
        if max(point["recall"] for point in points) > _MAX_RECALL:
            break
    if max(point["recall"] for point in points) < with_margin(recall):
        points += _measure(engine, truth, _RERANK_FACTORS[-1], _LARGE_PROBE_FACTORS, _N_FAR)
    curve: list[Point] = []
    by_cost = sorted(points, key=lambda p: (p["n_scanned"] + _PER_CANDIDATE * K * p["rerank_factor"], -p["recall"]))
    for point in by_cost:
        if not curve or point["recall"] > curve[-1]["recall"]:
            curve.append(point)
    chosen = point_for(curve, recall)
    return {
        "recall": float(recall),
        "probe_factor": chosen["probe_factor"],
        "rerank_factor": chosen["rerank_factor"],
        "n_scanned": chosen["n_scanned"],
        "filter_decay": _filter_decay(engine, thin, chosen, recall),
        "curve": curve,
    }


def _filter_decay(engine: IvfEngine, thin: Truth, chosen: Point, recall: float) -> float:
    """Return the largest power with which a thin filter still has the recall."""
    k = thin.ranks.shape[1]
    if engine.n_rows < _SELECTIVITY * k:
        return 0.0
    passes = is_thin(engine.ranks_at(np.arange(engine.n_rows)))
    passes[engine.empty] = False
    row_filter = engine.compile_filter(passes)
    if row_filter.starts[-1] < k:
        return 0.0
    m = min(int(row_filter.starts[-1]), k + engine.n_spare(k, chosen["rerank_factor"]))
    for decay in _FILTER_DECAYS:
        ranks = engine.search_candidates(thin.rows, k, m, row_filter, chosen["probe_factor"], decay)[1]
        if thin.recall(ranks) >= with_margin(recall):
            return decay
    return 0.0


def _measure(
    engine: IvfEngine, truth: Truth, rerank_factor: float, probe_factors: tuple[float, ...], n_queries: int
) -> list[Point]:
    """Measure one rerank factor with ever larger probe factors, until recall no longer grows."""
    points, before = list[Point](), -1.0
    n_found, row_filter = engine.n_rows - len(engine.empty), engine.not_empty
    k, X = min(truth.ranks.shape[1], n_found), truth.rows[:n_queries]
    for factor in probe_factors:
        m = min(n_found, k + engine.n_spare(k, rerank_factor))
        _, ranks, scanned = engine.search_candidates(X, k, m, row_filter, factor)
        for array in engine.arrays().values():
            release_pages(array)
        recall, n_scanned = truth.recall(ranks), float(scanned.mean())
        points.append(Point(probe_factor=factor, rerank_factor=rerank_factor, recall=recall, n_scanned=n_scanned))
        if recall > _MAX_RECALL or recall < before + _MIN_GAIN:
            break
        before = recall
    return points
