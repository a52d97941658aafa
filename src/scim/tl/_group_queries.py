"""Make one query for each group of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scim._core.cosine import is_directed, normalize
from scim.pp import align, lognorm
from scim.tl._inputs import query_counts
from scim.tl._representation import is_embedded

if TYPE_CHECKING:
    from anndata import AnnData

    from scim._core import Centroid
    from scim._core.adata import Groups
    from scim._core.types import Floats, Transform
    from scim.atlas import Atlas
    from scim.model import Model
    from scim.pp import Counts, GeneMap
    from scim.pp._species import Species

_ROWS = 4096  # of counts that are read at a time
# Measured by benchmarks/state: weights of .4 to .6 and temperatures of .05 to .2 are as good.
_CONTRAST_WEIGHT, _CONTRAST_TEMPERATURE = 0.5, 0.1


def group_queries(
    adata: AnnData,
    X: Floats,
    groups: Groups,
    atlas: Atlas,
    centroid: Centroid,
    *,
    record: dict[str, Any],
    layer: str | None,
    transform: Transform | None,
    gene_key: str | None,
    species: Species | None,
) -> Floats:
    """Return one unit row for each group, (n_groups, dim): its summed counts embedded, or the mean of its rows of `X`.

    The centroids of a contrast are by counts if :func:`scim.tl.embed` made the embedding; :func:`contrast` contrasts
    them. `record` is that of the embedding; arguments on counts and genes that are `None` are those in it.
    """
    if centroid == "contrast":
        centroid = default_centroid(None, record)
    if centroid == "embedding":
        rows = groups.codes >= 0
        sums = np.zeros((len(groups.names), X.shape[1]), dtype=np.float64)
        np.add.at(sums, groups.codes[rows], X[rows])
        return normalize(sums).astype(np.float32)
    given: dict[str, Any] = {"layer": layer, "transform": transform, "gene_key": gene_key, "species": species}
    counts, genes = query_counts(adata, atlas.model, record, **given)
    return _embed_sums(counts, genes, groups, atlas.model)


def default_centroid(centroid: Centroid | None, record: dict[str, Any]) -> Centroid:
    """Return the centroid that is given, else counts if `tl.embed` made the embedding."""
    if centroid is None:
        return "counts" if is_embedded(record) else "embedding"
    return centroid


def contrast(centroids: Floats) -> Floats:
    r"""Return the queries of groups that are contrasted with each other, unit rows, (n_groups, dim).

    Of centroid :math:`c_i` it is the direction of :math:`c_i - b_i / 2`, where :math:`b_i` is that of
    :math:`\sum_{j \neq i} w_{ij} c_j`, and :math:`w_{ij}` the softmax of :math:`c_i \cdot c_j / 0.1`: what a group has
    in common with the groups next to it counts less. Rows of zeros, of groups without counts, stay zero and do not
    count.

    Raises
    ------
    ValueError
        There are not two groups with counts.
    """
    directed = is_directed(centroids)
    if directed.sum() < 2:
        came = ("none has", "one has")[int(directed.sum())] if len(centroids) > 1 else "there is one, which has"
        came = f"got {'one' if len(centroids) == 1 else f'{len(centroids)}, of which {came} counts'}"
        msg = f"centroid='contrast' needs at least two groups of `groupby`, {came}; use 'counts' or 'embedding'."
        raise ValueError(msg)
    logits = (centroids @ centroids.T).astype(np.float64) / _CONTRAST_TEMPERATURE
    np.fill_diagonal(logits, -np.inf)
    logits[:, ~directed] = -np.inf
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    queries = centroids - _CONTRAST_WEIGHT * normalize(weights @ centroids)
    queries[~directed] = 0
    return normalize(queries).astype(np.float32)


def _embed_sums(counts: Counts, genes: GeneMap, groups: Groups, model: Model) -> Floats:
    r"""Embed the summed counts of each group as one cell: :math:`\log(1 + 10^4 \sum x / \sum\sum x)`."""
    sums = np.zeros((len(groups.names), genes.observed.size))
    for start in range(0, counts.n_obs, _ROWS):
        stop = min(counts.n_obs, start + _ROWS)
        codes = groups.codes[start:stop]
        rows = np.flatnonzero(codes >= 0)
        ones = np.ones(rows.size, dtype=np.float32)
        indicator = sparse.csr_matrix((ones, (codes[rows], rows)), shape=(len(sums), stop - start))
        sums += (indicator @ align(counts.whole_rows(start, stop), genes)).toarray()
    X = lognorm(sparse.csr_matrix(sums.astype(np.float32)), model.config.target_sum)
    return model.encode(X, observed=genes.observed)
