"""The labels of a model."""

from __future__ import annotations

from typing import NamedTuple


class Labels(NamedTuple):
    """The labels of a model; code i is entry i."""

    names: tuple[str, ...]
    ids: tuple[str | None, ...]
    """Cell Ontology ids; None where the ontology does not know the name."""
