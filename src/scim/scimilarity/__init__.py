"""The published SCimilarity package: import its model and its folder, and its classes on an imported atlas.

`from scimilarity import CellAnnotation` becomes `from scim.scimilarity import CellAnnotation`. Names, arguments,
attributes and results are those of scimilarity 0.4.1; the page "Coming from SCimilarity" lists the differences.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scim.scimilarity import utils
    from scim.scimilarity._annotation import CellAnnotation
    from scim.scimilarity._counts import lognorm_counts
    from scim.scimilarity._embedding import CellEmbedding
    from scim.scimilarity._genes import align_dataset
    from scim.scimilarity._import import import_atlas
    from scim.scimilarity._interpreter import Interpreter
    from scim.scimilarity._model import import_model
    from scim.scimilarity._query import CellQuery
    from scim.scimilarity._search import CellSearchKNN

__all__ = [
    "CellAnnotation",
    "CellEmbedding",
    "CellQuery",
    "CellSearchKNN",
    "Interpreter",
    "align_dataset",
    "import_atlas",
    "import_model",
    "lognorm_counts",
    "utils",
]

_FILES = {
    "CellAnnotation": "_annotation",
    "CellEmbedding": "_embedding",
    "CellQuery": "_query",
    "CellSearchKNN": "_search",
    "Interpreter": "_interpreter",
    "align_dataset": "_genes",
    "import_atlas": "_import",
    "import_model": "_model",
    "lognorm_counts": "_counts",
}


def __getattr__(name: str) -> Any:
    """Load a file when first used: `import scim.scimilarity` needs no torch and no TileDB."""
    if name == "utils":
        return importlib.import_module("scim.scimilarity.utils")
    if name in _FILES:
        return getattr(importlib.import_module(f"scim.scimilarity.{_FILES[name]}"), name)
    msg = f"module 'scim.scimilarity' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
