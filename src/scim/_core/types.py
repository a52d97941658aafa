"""Choices that several rooms know by name."""

from __future__ import annotations

from typing import Literal

IndexKind = Literal["auto", "exact", "ivf", "graph"]
"""See :func:`scim.index.build`."""

Weights = Literal["balanced", "distance", "uniform"]
"""How the neighbours of a cell vote; see :func:`scim.tl.annotate`."""

Duplicates = Literal["collapse", "keep"]
"""Whether cells of an atlas that are there twice are found once; see :func:`scim.tl.search`."""

Alternative = Literal["greater", "less", "two-sided"]
"""Which side counts in a test; see :func:`scim.tl.enrichment`."""

Centroid = Literal["counts", "embedding"]
"""What stands for a group of cells; see :func:`scim.tl.search`."""

Ancestors = Literal["right", "wrong"]
"""Whether a label that is an ancestor of the true one is right; see :func:`scim.get.reliability`."""

SpeciesName = Literal["human", "mouse"]
"""Whose genes scim translates without a mapping; see :func:`scim.pp.match_genes`."""
