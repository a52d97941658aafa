"""Nearest neighbours of unit vectors: arrays in, arrays out; what needs scikit-learn is imported on first use."""

from __future__ import annotations

import importlib
from typing import Any

from scim.index._build import build
from scim.index._files import verify
from scim.index._index import Index
from scim.index._open import open  # noqa: A004  (used as `scim.index.open`)
from scim.index._search import Neighbors, RadiusNeighbors

__all__ = ["Index", "Neighbors", "NeighborsTransformer", "RadiusNeighbors", "build", "open", "verify"]


def __getattr__(name: str) -> Any:
    if name == "NeighborsTransformer":
        return importlib.import_module("scim.index._transformer").NeighborsTransformer
    msg = f"module 'scim.index' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
