"""Nearest neighbours of unit vectors: arrays in, arrays out."""

from __future__ import annotations

from scim.index._answers import Neighbors, Within
from scim.index._build import build
from scim.index._index import Index
from scim.index._open import open  # noqa: A004  (used as `scim.index.open`)
from scim.index._verify import header_digest, verify

__all__ = ["Index", "Neighbors", "Within", "build", "header_digest", "open", "verify"]
