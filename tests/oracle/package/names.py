"""The public names of the package, and the names of their arguments."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def names(package: Any, classes: list[Any]) -> dict[str, list[str] | None]:
    """Return the arguments of each public call, as `Class.method` or `utils.function`; `None`: a property."""
    found: dict[str, list[str] | None] = {}
    for one in classes:
        for name, member in inspect.getmembers(one):
            if name == "__init__" or name[0] != "_":
                found[f"{one.__name__}.{name}"] = arguments(member)
    for name, member in inspect.getmembers(package.utils, inspect.isfunction):
        if member.__module__.startswith(package.utils.__name__):
            found[f"utils.{name}"] = arguments(member)
    return found


def arguments(member: Any) -> list[str] | None:
    return list(inspect.signature(member).parameters) if callable(member) else None


def run(out: Path) -> None:
    """Write those of the published package."""
    import scimilarity.ontologies
    import scimilarity.utils
    import scimilarity.visualizations
    from scimilarity.cell_search_knn import CellSearchKNN

    import scimilarity

    classes = [scimilarity.CellEmbedding, CellSearchKNN, scimilarity.CellAnnotation, scimilarity.CellQuery]
    found = names(scimilarity, [*classes, scimilarity.Interpreter])
    for module in (scimilarity.ontologies, scimilarity.visualizations):
        for name, member in inspect.getmembers(module, inspect.isfunction):
            if member.__module__ == module.__name__:
                found[f"{module.__name__.rpartition('.')[2]}.{name}"] = arguments(member)
    out.write_text(json.dumps(found))
