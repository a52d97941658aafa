"""Embed, annotate and search single cells against an atlas, on AnnData.

The rooms, in the order in which data goes through them:

- :mod:`scim.pp`: counts of any gene panel to the model's genes
- :mod:`scim.model`: the metric-learning model: train, save, load, encode
- :mod:`scim.index`: nearest neighbours of unit vectors
- :mod:`scim.label_transfer`: labels for cells from their labelled neighbours, on arrays
- :mod:`scim.atlas`: a store of embedded, labelled cells (TileDB-SOMA)
- :mod:`scim.tl`: embed, annotate, search, on AnnData
- :mod:`scim.get`: what `tl` wrote, as data frames
- :mod:`scim.pl`: what `tl` wrote, as pictures
- :mod:`scim.ontology`: the Cell Ontology
- :mod:`scim.datasets`: small data to try things on
- :mod:`scim.scimilarity`: the published package: import its model and its folder, and its classes on an atlas

Rooms are loaded when first used, so `import scim` is quick and needs no torch, TileDB, numba or matplotlib.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING

from scim._core.settings import settings

if TYPE_CHECKING:
    from types import ModuleType

    from scim import atlas, datasets, get, index, label_transfer, model, ontology, pl, pp, scimilarity, tl

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

_ROOMS = frozenset(__all__) - {"settings"}


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return importlib.import_module(f"scim.{name}")
    msg = f"module 'scim' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
