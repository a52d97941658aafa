"""Name the choices of arguments that several rooms share."""

from __future__ import annotations

from typing import Literal

IndexKind = Literal["auto", "exact", "ivf", "graph"]
"""See :func:`scim.index.build`."""

Weights = Literal["balanced", "distance", "uniform"]
"""How the neighbours of a cell are weighted; see :func:`scim.tl.annotate`."""

Duplicates = Literal["collapse", "keep"]
"""Whether duplicate cells of an atlas are found once; see :func:`scim.tl.search`."""

Alternative = Literal["greater", "less", "two-sided"]
"""The alternative hypothesis of a test; see :func:`scim.tl.enrichment`."""

Centroid = Literal["counts", "embedding"]
"""How a group of cells is summed up; see :func:`scim.tl.search`."""

Ancestors = Literal["right", "wrong"]
"""Whether a label that is an ancestor of the true one is right; see :func:`scim.get.reliability`."""

SpeciesName = Literal["human", "mouse"]
"""Species with genes that scim translates without a mapping; see :func:`scim.pp.match_genes`."""
