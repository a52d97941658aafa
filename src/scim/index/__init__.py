"""Nearest neighbours of unit vectors: arrays in, arrays out."""

from __future__ import annotations

from scim.index._base import Index, Neighbors
from scim.index._build import build
from scim.index._files import verify
from scim.index._open import open  # noqa: A004  (used as `scim.index.open`)

__all__ = ["Index", "Neighbors", "build", "open", "verify"]
