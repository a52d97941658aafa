"""The curve of recall that an index keeps of itself."""

from __future__ import annotations

from typing import TypedDict

K = 50
"""Neighbours a query, over which recall is measured."""
_CARE = 0.1
"""Share of what is missing from the recall asked for that is asked for beyond it: the sample is a sample."""


class Point(TypedDict):
    """One way to search, and what it found."""

    reach: float
    depth: float
    recall: float
    n_scanned: float


def with_care(recall: float) -> float:
    """Return the recall to look for on the sample."""
    return recall + _CARE * (1 - recall)


def point_for(curve: list[Point], recall: float) -> Point:
    """Return the cheapest point that finds `recall` of the neighbours and a little more, or the best there is."""
    return next((point for point in curve if point["recall"] >= with_care(recall)), curve[-1])
