"""Embed, annotate and search single cells against an atlas, on AnnData.

The modules, in the order in which data goes through them:

- :mod:`scim.pp`: match the genes of any panel to those of a model, and normalise counts
- :mod:`scim.model`: train, evaluate, save, load and explain the metric-learning model that embeds cells
- :mod:`scim.index`: find the nearest neighbours of unit vectors
- :mod:`scim.label_transfer`: transfer labels from labelled neighbours, on arrays
- :mod:`scim.atlas`: store embedded, labelled cells, and search them (TileDB-SOMA)
- :mod:`scim.tl`: embed, annotate, search and explain the cells of an AnnData
- :mod:`scim.get`: return what `tl` wrote as data frames
- :mod:`scim.pl`: draw what `tl` wrote
- :mod:`scim.ontology`: look up terms of the Cell Ontology
- :mod:`scim.datasets`: load small example data
- :mod:`scim.scimilarity`: import the model and folder of the published SCimilarity, and use its classes on an atlas

A module is loaded when first used, so `import scim` is quick and needs no torch, TileDB, numba or matplotlib.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from scim import atlas, datasets, get, index, label_transfer, model, ontology, pl, pp, scimilarity, tl
    from scim._core import Settings, settings

__all__ = [
    "atlas",
    "datasets",
    "get",
    "index",
    "label_transfer",
    "model",
    "ontology",
    "pl",
    "pp",
    "scimilarity",
    "settings",
    "tl",
]
__version__ = version("scim-atlas")

_MODULES = frozenset(__all__) - {"settings"}


def __getattr__(name: str) -> ModuleType | Settings:
    if name == "settings":  # read from the environment, where a value may be wrong, when they are first needed
        return importlib.import_module("scim._core").settings  # type: ignore[no-any-return]
    if name in _MODULES:
        return importlib.import_module(f"scim.{name}")
    msg = f"module 'scim' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
