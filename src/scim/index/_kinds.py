"""The kinds of index by name; a kind is imported when it is first needed, since kernels and graphs take a while."""

from __future__ import annotations

import importlib
from typing import Any

KINDS = {
    "exact": ("scim.index._exact", "ExactIndex"),
    "ivf": ("scim.index._ivf", "IvfIndex"),
    "graph": ("scim.index._graph", "GraphIndex"),
}


def index_class(kind: str) -> Any:
    """Return the subclass of `Index` of that name."""
    module, name = KINDS[kind]
    return getattr(importlib.import_module(module), name)
