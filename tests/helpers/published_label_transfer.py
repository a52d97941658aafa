"""The published rule of label transfer of the package scimilarity, one cell at a time in plain Python."""

from __future__ import annotations

import json
from typing import Any


def published_label_transfer(labels: list[str], distances: list[float], *, weighting: bool) -> dict[str, Any]:
    """Return the label and the statistics of one cell; labels nearest first."""
    counts: dict[str, float] = {}
    sums: dict[str, float] = {}
    for label, distance in zip(labels, distances, strict=True):
        counts[label] = counts.get(label, 0.0) + 1.0
        sums[label] = sums.get(label, 0.0) + 1.0 / max(float(distance), 1e-6)
    chosen = sums if weighting else counts
    out: dict[str, Any] = {"label": max(chosen, key=lambda name: chosen[name])}  # the first of ties
    out |= {"hits": json.dumps(counts), "hits_weighted": json.dumps(sums)}
    out |= {"min_dist": min(distances), "max_dist": max(distances)}
    for suffix, votes in (("", counts), ("_weighted", sums)):
        ranked = sorted(votes.values(), reverse=True)
        out[f"vs2nd{suffix}"] = ranked[0] / sum(ranked[:2])
        out[f"vsAll{suffix}"] = ranked[0] / sum(ranked)
    return out
