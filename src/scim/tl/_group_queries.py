"""Make one query for each group of cells, and measure how well it represents them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist

from scim._core import Centroid, check_choice
from scim._core.cosine import normalize
from scim.pp import align, lognorm
from scim.tl._inputs import embedding_record, query_counts

if TYPE_CHECKING:
    from anndata import AnnData

    from scim._core.adata import Groups
    from scim._core.types import Doubles, Floats
    from scim.atlas import Atlas
    from scim.model import Model
    from scim.pp import Counts, GeneMap
    from scim.pp._species import Species

_ROWS = 4096  # of counts that are read at a time
# Measured by benchmarks/state: weights of .4 to .6 and temperatures of .05 to .2 are as good.
_CONTRAST_WEIGHT, _CONTRAST_TEMPERATURE = 0.5, 0.1
_N_CENTRES, _N_NEAREST = 10, 100  # centres of a group, and cells of the atlas nearest to each
_N_RUNS = 5  # a single run of k-means differs from another by some 10 of 100
_N_STARTS, _N_ITERATIONS = 3, 100
_TOLERANCE = 1e-4  # squared shift of the centres at which k-means ends, in mean variances of the cells
_MOST_CELLS = 5_000  # of larger groups, as many cells are taken, evenly spaced
_HIT_RADIUS = 0.85  # of the label radius: the mean of two unrelated types is .8 of it from both


def group_queries(
    adata: AnnData,
    X: Floats,
    groups: Groups,
    atlas: Atlas,
    centroid: Centroid,
    *,
    use_rep: str,
    layer: str | None,
    gene_key: str | None,
    species: Species | None,
) -> Floats:
    """Return one unit row for each group, (n_groups, dim): its summed counts embedded, or the mean of its rows of `X`.

    The centroids of a contrast are by counts if :func:`scim.tl.embed` made the embedding; :func:`contrast` contrasts
    them. `layer`, `gene_key` and `species` that are `None` are those that `tl.embed` was given.
    """
    if centroid == "contrast":
        centroid = default_centroid(adata, None, use_rep)
    if centroid == "embedding":
        rows = groups.codes >= 0
        sums = np.zeros((len(groups.names), X.shape[1]), dtype=np.float64)
        np.add.at(sums, groups.codes[rows], X[rows])
        return normalize(sums).astype(np.float32)
    record = embedding_record(adata, use_rep)
    counts, genes = query_counts(adata, atlas.model, record, layer=layer, gene_key=gene_key, species=species)
    return _embed_sums(counts, genes, groups, atlas.model)


def default_centroid(adata: AnnData, centroid: Centroid | None, use_rep: str) -> Centroid:
    """Return the centroid that is given, if it is one of the choices, else counts if `tl.embed` made the embedding."""
    if centroid is None:
        return "counts" if embedding_record(adata, use_rep) else "embedding"
    check_choice("centroid", centroid, get_args(Centroid))
    return centroid


def contrast(centroids: Floats) -> Floats:
    r"""Return the queries of groups that are contrasted with each other, unit rows, (n_groups, dim).

    Of centroid :math:`c_i` it is the direction of :math:`c_i - b_i / 2`, where :math:`b_i` is that of
    :math:`\sum_{j \neq i} w_{ij} c_j`, and :math:`w_{ij}` the softmax of :math:`c_i \cdot c_j / 0.1`: what a group has
    in common with the groups next to it counts less. Zero rows stay zero.

    Raises
    ------
    ValueError
        There is one group only.
    """
    if len(centroids) < 2:
        msg = "centroid='contrast' needs at least two groups of `groupby`, got one; use 'counts' or 'embedding'."
        raise ValueError(msg)
    logits = (centroids @ centroids.T).astype(np.float64) / _CONTRAST_TEMPERATURE
    np.fill_diagonal(logits, -np.inf)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    queries = centroids - _CONTRAST_WEIGHT * normalize(weights @ centroids)
    queries[~centroids.any(axis=1)] = 0
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
        sums += (indicator @ align(counts.rows(start, stop), genes)).toarray()
    X = lognorm(sparse.csr_matrix(sums.astype(np.float32)), model.config.target_sum)
    return model.encode(X, observed=genes.observed)


def coherence(X: Floats, groups: Groups, queries: Floats, atlas: Atlas, **query_arguments: Any) -> Floats:
    r"""Return how well the query of each group represents its cells, 0 to 100.

    The cells of a group are summed up by ten centres, in each of five runs of k-means :cite:p:`Lloyd1982`.
    :math:`N_i` are the 100 cells of the atlas nearest to centre i that are within its label radius; :math:`H` are all
    cells of the atlas within .85 label radii of the query. The result is the mean over the centres of
    :math:`100 |N_i \cap H| / |N_i|` (0 where :math:`N_i` is empty), NaN where every :math:`N_i` is. It follows
    :cite:t:`Heimberg2025`, where `H` are the 10,000 nearest of 23 million cells: a fixed number depends on how common a
    state is in the atlas, a radius does not.

    `X` are the cells, (n_obs, dim), `queries` those of the groups, (n_groups, dim), and `query_arguments` those of the
    search: filter, duplicates.
    """
    radius = 2.0 if atlas.label_radius is None else atlas.label_radius
    out = np.full(len(groups.names), np.nan, dtype=np.float32)
    for i, query in enumerate(normalize(queries)):
        nearest = atlas.index.query(_centres(X[groups.codes == i]), _N_NEAREST, **query_arguments)
        near = nearest.distances <= radius
        if near.any():
            ids, position = np.unique(nearest.ids[near], return_inverse=True)
            hit = np.zeros(near.shape, dtype=bool)
            hit[near] = (1 - atlas.index.vectors(ids) @ query <= _HIT_RADIUS * radius)[position]
            shares = hit.sum(axis=1) / np.maximum(near.sum(axis=1), 1)
            out[i] = 100 * shares.mean()
    return out


def _centres(cells: Floats) -> Floats:
    """Return ten centres of cells for each run, the best of a few starts; of ten cells and fewer, the cells."""
    if len(cells) > _MOST_CELLS:
        cells = cells[np.linspace(0, len(cells) - 1, _MOST_CELLS).astype(np.int64)]
    distinct = np.unique(cells, axis=0)
    if len(distinct) <= _N_CENTRES:
        return distinct
    X, rng = distinct.astype(np.float64), np.random.default_rng(0)
    runs = [[_kmeans(X, rng) for _ in range(_N_STARTS)] for _ in range(_N_RUNS)]
    return np.concatenate([min(starts, key=lambda result: result[1])[0] for starts in runs]).astype(np.float32)


def _kmeans(X: Doubles, rng: np.random.Generator) -> tuple[Doubles, float]:
    """Return ten centres by Lloyd's iterations from a k-means++ start, and the sum of squared distances to them."""
    centres, nearest = X[[rng.integers(len(X))]], np.full(len(X), np.inf)
    while len(centres) < _N_CENTRES:
        nearest = np.minimum(nearest, cdist(X, centres[-1:], "sqeuclidean")[:, 0])
        centres = np.vstack([centres, X[[rng.choice(len(X), p=nearest / nearest.sum())]]])
    tolerance = _TOLERANCE * X.var(axis=0).mean()
    for _ in range(_N_ITERATIONS):
        labels, moved = cdist(X, centres, "sqeuclidean").argmin(axis=1), centres.copy()
        for label in np.unique(labels):
            moved[label] = X[labels == label].mean(axis=0)
        shift, centres = np.square(moved - centres).sum(), moved
        if shift <= tolerance:
            break
    return centres, float(cdist(X, centres, "sqeuclidean").min(axis=1).sum())
