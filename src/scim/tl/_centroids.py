"""Groups of cells to one query each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scim.pp import align, lognorm
from scim.tl._context import counts_as_embedded, embedded_by

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scim._core.groups import Groups
    from scim._core.types import Centroid
    from scim.atlas import Atlas
    from scim.model import Model
    from scim.pp import Counts, GeneMap, Species

_ROWS = 4096


def centroids(
    adata: AnnData,
    X: NDArray[np.float32],
    groups: Groups,
    atlas: Atlas,
    centroid: Centroid,
    *,
    use_rep: str,
    layer: str | None,
    gene_key: str | None,
    species: Species | None,
) -> NDArray[np.float32]:
    """Return one row for each group, (n_groups, dim): its counts embedded as one cell, or the mean of its rows of `X`.

    Counts and names of genes are where and of which species `tl.embed` found them, unless told otherwise.
    """
    if centroid == "embedding":
        return centroids_of_embedding(X, groups)
    made = embedded_by(adata, use_rep)
    counts, genes = counts_as_embedded(adata, atlas.model, made, layer=layer, gene_key=gene_key, species=species)
    return centroids_of_counts(counts, genes, groups, atlas.model)


def default_centroid(adata: AnnData, centroid: Centroid | None, use_rep: str) -> Centroid:
    """Return what stands for a group unless told otherwise: counts, if `tl.embed` made the embedding of them."""
    if centroid is not None:
        return centroid
    return "counts" if embedded_by(adata, use_rep) else "embedding"


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
