"""Cells as a poorer experiment would have seen them: fewer genes, fewer counts, or no counts but their logarithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from scim.pp import Counts, lognorm

if TYPE_CHECKING:
    from numpy.typing import NDArray

GENES = (2000, 1000, 500)
COUNTS = (0.5, 0.2, 0.1)


@dataclass(frozen=True)
class Change:
    """What happens to the cells of a study before they are embedded.

    Attributes
    ----------
    kind
        `"genes"`: a random subset of the genes that the study measured and the model reads is kept;
        `"counts"`: each count is kept with a probability (binomial thinning);
        `"lognorm"`: the values are normalised to 10,000 and their logarithm is taken, which is undone as for any data
        without counts.
    level
        How many genes; which probability; `None`.
    """

    kind: Literal["genes", "counts", "lognorm"]
    level: float | None

    def genes(self, observed: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.bool_]:
        """Return the genes of the model that are still measured."""
        there = np.flatnonzero(observed)
        if self.kind != "genes" or self.level is None or len(there) <= self.level:
            return observed
        kept = np.zeros_like(observed)
        kept[random.choice(there, int(self.level), replace=False)] = True
        return kept

    def values(
        self, X: sparse.csr_matrix, observed: NDArray[np.bool_], random: np.random.Generator
    ) -> sparse.csr_matrix:
        """Return the counts that are left of those over the model's genes, (n, n_genes)."""
        if self.kind == "genes":
            return _rebuilt(X, X.data * observed[X.indices])
        if self.kind == "counts":
            return _rebuilt(X, random.binomial(np.rint(X.data).astype(np.int64), self.level or 0.0))
        logged = lognorm(X.astype(np.float32, copy=True))
        return Counts(logged, pd.DataFrame(index=range(X.shape[1])), "X", "lognorm").rows(0, X.shape[0])


def changes(genes: tuple[int, ...], counts: tuple[float, ...]) -> list[Change]:
    """Return all of them."""
    return [
        *(Change("genes", n) for n in genes),
        *(Change("counts", share) for share in counts),
        Change("lognorm", None),
    ]


def _rebuilt(X: sparse.csr_matrix, values: NDArray[np.number]) -> sparse.csr_matrix:
    out = sparse.csr_matrix((values.astype(np.float32), X.indices.copy(), X.indptr.copy()), shape=X.shape)
    out.eliminate_zeros()
    return out
