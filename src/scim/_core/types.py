"""Name the choices of arguments that several rooms share, and the arrays that kernels take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float32]
    Doubles: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]
    Ints32: TypeAlias = NDArray[np.int32]
    Bools: TypeAlias = NDArray[np.bool_]

IndexKind = Literal["auto", "exact", "ivf", "graph"]
"""See :func:`scim.index.build`."""

Weights = Literal["balanced", "distance", "uniform"]
"""How the neighbours of a cell are weighted; see :func:`scim.tl.annotate`."""

Duplicates = Literal["collapse", "keep"]
"""Whether duplicate cells of an atlas are found once; see :func:`scim.tl.search`."""

Alternative = Literal["greater", "less", "two-sided"]
"""The alternative hypothesis of a test; see :func:`scim.tl.enrichment`."""

Centroid = Literal["counts", "embedding", "contrast"]
"""How a group of cells is summed up; see :func:`scim.tl.search`."""

Ancestors = Literal["right", "wrong"]
"""Whether a label that is an ancestor of the true one is right; see :func:`scim.get.reliability`."""

SpeciesName = Literal["human", "mouse"]
"""Species with genes that scim translates without a mapping; see :func:`scim.pp.match_genes`."""

Transform = Literal["none", "log1p", "log2", "log10", "sqrt", "arcsinh"]
"""What was done to counts, or to counts divided by the total of a cell, and is undone before they are used: nothing;
the logarithm of 1 + x, natural or to the base 2 or 10; the square root; the inverse hyperbolic sine."""
