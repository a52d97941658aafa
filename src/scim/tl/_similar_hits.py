"""Decide which hits of a search are like their query, and which are only the nearest that a filter left."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scim._core.types import Bools
    from scim.atlas import Atlas
    from scim.index import Neighbors


def similar_hits(neighbors: Neighbors, atlas: Atlas) -> Bools:
    """Return which hits are within the label radius of the atlas, (n_queries, k)."""
    radius = 2.0 if atlas.label_radius is None else atlas.label_radius
    similar: Bools = (neighbors.ids >= 0) & (neighbors.distances <= radius)
    return similar
