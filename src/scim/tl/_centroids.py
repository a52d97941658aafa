"""Groups of cells to one query each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from scim.pp import align, lognorm

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scim.model import Model
    from scim.pp import Counts, GeneMap

_ROWS = 4096


class Groups(NamedTuple):
    """Cells by group."""

    names: NDArray[np.object_]
    """(n_groups,) names as text, in the order of the categories."""

    codes: NDArray[np.int64]
    """(n_obs,) group of each cell; -1 = in none."""


def groups_of(adata: AnnData, groupby: str) -> Groups:
    """Return the groups that a column of obs makes; missing values belong to none.

    Raises
    ------
    ValueError
        All values are missing.
    """
    column = adata.obs[groupby]
    categories = pd.Categorical(column).remove_unused_categories()
    if len(categories.categories) == 0:
        msg = f"obs[{groupby!r}] has only missing values; expected a group for at least one cell."
        raise ValueError(msg)
    return Groups(categories.categories.astype(str).to_numpy(dtype=object), np.asarray(categories.codes, np.int64))


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
