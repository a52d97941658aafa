"""Groups of cells to one query each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scim.pp import align, lognorm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.groups import Groups
    from scim.model import Model
    from scim.pp import Counts, GeneMap

_ROWS = 4096


def centroids_of_counts(counts: Counts, genes: GeneMap, groups: Groups, model: Model) -> NDArray[np.float32]:
    r"""Embed each group as one cell that has all its counts: :math:`\log(1 + 10^4 \sum x / \sum\sum x)`.

    Returns
    -------
    float32 unit rows, shape (n_groups, latent_dim).
    """
    sums = np.zeros((len(groups.names), genes.observed.size))
    for start in range(0, counts.n_obs, _ROWS):
        stop = min(counts.n_obs, start + _ROWS)
        members = groups.codes[start:stop]
        inside = np.flatnonzero(members >= 0)
        ones = np.ones(inside.size, dtype=np.float32)
        pick = sparse.csr_matrix((ones, (members[inside], inside)), shape=(len(sums), stop - start))
        sums += (pick @ align(counts.rows(start, stop), genes)).toarray()
    X = lognorm(sparse.csr_matrix(sums.astype(np.float32)), model.config.target_sum)
    return model.encode(X, observed=genes.observed)


def centroids_of_embedding(X: NDArray[np.float32], groups: Groups) -> NDArray[np.float32]:
    """Return the mean row of each group, scaled to unit length, shape (n_groups, dim)."""
    sums = np.zeros((len(groups.names), X.shape[1]), dtype=np.float64)
    inside = groups.codes >= 0
    np.add.at(sums, groups.codes[inside], X[inside])
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(sums, norms, out=np.zeros_like(sums), where=norms > 0)
    return unit.astype(np.float32)
