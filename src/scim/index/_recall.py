"""How many lists must be probed for a recall: measured on a sample of the rows against exact search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim.index._distances import measure
from scim.index._nearest import nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

K = 50
"""Neighbours a query, over which recall is measured."""

_N_SAMPLE = 512


def recall_curve(
    rows: NDArray[np.float32], labels: NDArray[np.int64], centroids: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the recall of the `K` nearest after probing 1 ... n_lists lists, (n_lists,).

    A neighbour is found if and only if its list is probed, so the place of that list among those of the query
    tells the recall for every number of probes. The queries themselves, which are rows, do not count as neighbours.
    """
    n, n_lists = len(rows), len(centroids)
    sample = np.sort(rng.choice(n, min(n, _N_SAMPLE), replace=False))
    _, ranks = nearest(rows[sample], rows, min(n, K + 1))
    order = np.argsort(measure(rows[sample], centroids, np.arange(n_lists)[None]), axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(n_lists)[None], axis=1)
    places = np.take_along_axis(place, labels[ranks], axis=1)[ranks != sample[:, None]]
    found = np.cumsum(np.bincount(places, minlength=n_lists))
    return found / max(len(places), 1) if len(places) else np.ones(n_lists)


def probes_for(curve: NDArray[np.float64], recall: float) -> int:
    """Return the smallest number of probes that reaches `recall`."""
    return int(np.argmax(curve >= recall)) + 1


def points_of(curve: NDArray[np.float64]) -> dict[str, list[float]]:
    """Return the curve at powers of two, as JSON types."""
    probes = sorted({*(1 << i for i in range(len(curve).bit_length()) if 1 << i <= len(curve)), len(curve)})
    return {"n_probes": [float(p) for p in probes], "recall": [float(curve[p - 1]) for p in probes]}
