"""Nearest neighbours of unit vectors: arrays in, arrays out."""

from __future__ import annotations

from scim.index._build import build
from scim.index._files import verify
from scim.index._index import Index
from scim.index._open import open  # noqa: A004  (used as `scim.index.open`)
from scim.index._search import Neighbors, RadiusNeighbors

__all__ = ["Index", "Neighbors", "RadiusNeighbors", "build", "open", "verify"]
