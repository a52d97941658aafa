"""Search an atlas for cells that are similar to cells or groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from scim._core import (
    Centroid,
    Duplicates,
    check_choice,
    check_count,
    check_range,
    check_where,
    keys,
    logger,
)
from scim._core.adata import groups_of
from scim._core.cosine import cosine_distances, is_directed
from scim.atlas._open import opened, origin
from scim.index import Neighbors
from scim.tl._coherence import coherence
from scim.tl._group_queries import contrast, default_centroid, group_queries
from scim.tl._inputs import check_counts_arguments, primary_condition, query_filter, report_empty
from scim.tl._representation import query_embedding
from scim.tl._similar_hits import atlas_labels, query_votes, similar_hits
from scim.tl._slots import SEARCH, check_slots, write_slots

if TYPE_CHECKING:
    from anndata import AnnData

    from scim._core.types import Floats, Ints, Transform
    from scim.atlas import Atlas
    from scim.pp._species import Species
    from scim.tl._inputs import AtlasLike


def search(
    adata: AnnData,
    atlas: AtlasLike = None,
    *,
    groupby: str | None = None,
    k: int = 50,
    where: str | None = None,
    max_distance: float | None = None,
    duplicates: Duplicates = "collapse",
    centroid: Centroid | None = None,
    layer: str | None = None,
    transform: Transform | None = None,
    gene_key: str | None = None,
    species: Species | None = None,
    use_rep: str = keys.EMBEDDING,
    key_added: str = keys.SEARCH,
    copy: bool = False,
) -> AnnData | None:
    r"""Find the cells of an atlas that are most similar to each cell, or to each group of cells.

    Parameters
    ----------
    adata
        Cells embedded by :func:`scim.tl.embed`.
    atlas
        An open atlas, or the path of one. Default: `scim.settings.atlas`, else the atlas that comes with the package.
    groupby
        Column of obs: search once for each of its groups instead of once for each cell.
    k
        Number of hits for each query, at most the cells of the atlas.
    where
        Only cells of the atlas that pass this filter are found, as `"tissue == 'blood'"`: `k` of them, if that many do;
        see :meth:`scim.atlas.Atlas.select`.
    max_distance
        Cells farther away than this (cosine distance, 0 to 2) are left out: with a large `k`, the hits are all cells
        of the atlas that are this near; with 0, those equal to the query. Default: the `k` nearest, however far.
    duplicates
        `"collapse"`: duplicate cells are found once. Of cells with equal embeddings the one of lowest id is a hit,
        and where the atlas has a column `is_primary_data`, as the CELLxGENE Census has, cells for which it is false
        are no hits. `"keep"`: every cell may be a hit.
    centroid
        The query of a group: `"counts"`, its summed counts embedded as one cell,
        :math:`\log(1 + 10^4 \sum x / \sum\sum x)` :cite:p:`Heimberg2025`, or `"embedding"`, the mean of its embeddings.
        Default: `"counts"` if :func:`scim.tl.embed` made `use_rep`, else `"embedding"`. `"contrast"`: the default less
        half of what the other groups next to it are like,
        :math:`c_i - \frac{1}{2} \sum_{j \neq i} w_{ij} c_j` with :math:`w_{ij}` the softmax of
        :math:`c_i \cdot c_j / 0.1` and all vectors of length 1. It tells a state better from the states next to it,
        and needs these as groups. Distances are to this query, and larger.
    layer, transform, gene_key, species
        Counts and gene names for `centroid="counts"`, as in :func:`scim.tl.embed`. Default: what that was given.
    use_rep
        Name of the embedding in `obsm`, as in :func:`scim.tl.annotate`.
    key_added
        Base of the names that are written, as in :func:`scim.tl.annotate`.
    copy
        Whether to return a new AnnData and leave this one alone.

    Returns
    -------
    `None`, or with `copy=True` the new AnnData. Writes, with `key_added="scim_search"`:

    `adata.obsm["scim_search_ids"]`, `adata.obsm["scim_search_distances"]` : int64, float32, shape (n_obs, k)
        `soma_joinid` and cosine distance (0 to 2, ascending) of the hits; -1 and inf where fewer cells pass, and for a
        cell or group without counts in the model's genes. With `groupby` they are in `uns["scim_search"]` instead,
        shape (n_groups, k), beside `"groups"`.
    `adata.obsm["scim_search_similar"]` : bool, shape (n_obs, k)
        Whether a hit is like its query, not only the nearest that `where` left; with `groupby` in `uns["scim_search"]`.
        It has a label that the query may have, and is no farther than 99 % of the cells of this label in two studies
        are from each other, or than the label radius of the atlas. Labels that the query may have are those of the
        cells of the whole atlas around the query, or around up to 100 cells of the group, counted as
        :func:`scim.tl.annotate` does: those with at least .9 of the votes of each other, and those above and below
        them in the Cell Ontology. Where the atlas most likely has no cell of the type of the query (novelty of 1/3 and
        more), no hit is similar. In an atlas without labels the label radius alone decides.
    `adata.uns["scim_search"]["coherence"]` : float32, shape (n_groups,), with `groupby`
        Whether a group is one state, 0 to 100, independent of the search: :math:`100 \cdot 2^{-S / 0.03}` with
        :math:`S` the mean of :math:`(d_i / b)^2`, :math:`d_i` the cosine distance of cell i to the mean direction of
        the group and :math:`b` the mean distance between types in the atlas (about 1). Of types of studies that are not
        in the training .80 to .87 have 50 and more, of mixtures of two to five types .02 to .06, of those with nine
        tenths of one type .02 to .04 (benchmarks/coherence). NaN: the atlas has no cells of the type, or the group has
        no counts.
    `adata.uns["scim_search"]` : dict
        Parameters, atlas, and `n_cells_empty`, the number of cells without counts in the model's genes;
        :func:`scim.get.hits` returns a table of hits with the columns of the atlas.

    Raises
    ------
    KeyError
        There is no embedding (run `scim.tl.embed` first), or no column `groupby`.
    ValueError
        Another model made the embedding, no cell of the atlas passes `where`, `species` is missing where it was a
        mapping when the cells were embedded, or a contrast has a single group.
    FilterError
        `where` cannot be read, or names an unknown column or value.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.search(adata, groupby="cell_type", k=5)
    >>> scim.get.hits(adata, only_similar=False).shape[0]
    15
    """
    check_slots(adata, SEARCH, key_added, copy=copy, groupby=groupby)
    k = check_count("k", k)
    check_choice("duplicates", duplicates, get_args(Duplicates))
    check_where(where)
    check_counts_arguments(layer, transform, gene_key, species)
    if max_distance is not None:
        check_range("max_distance", max_distance, 2.0)
    if centroid is not None:
        check_choice("centroid", centroid, get_args(Centroid))
    groups = None if groupby is None else groups_of(adata, groupby)
    with opened(atlas) as source:
        cells, record = query_embedding(adata, source, use_rep)
        X, k, centroid = cells, min(k, source.n_obs), default_centroid(centroid, record)
        contrasted = groups is not None and centroid == "contrast"
        primary = primary_condition(source) if duplicates == "collapse" else None
        query_arguments = {"distinct": duplicates == "collapse", **query_filter(source, where, primary)}
        if groups is not None:
            count_arguments: dict[str, Any] = {"layer": layer, "transform": transform, "gene_key": gene_key}
            count_arguments |= {"record": record, "species": species}
            centroids = group_queries(adata, X, groups, source, centroid, **count_arguments)
            X = contrast(centroids) if contrasted else centroids
        neighbors = source.index.query(X, k, **query_arguments)
        if is_directed(X).any() and not np.any(neighbors.ids[:, 0] >= 0):
            msg = f"No cell of the atlas passes where={where!r}" + (f" and {primary}." if primary else ".")
            raise ValueError(msg)
        to_state = _distances_to(centroids, neighbors.ids, source) if contrasted else neighbors
        transfer = atlas_labels(source)
        votes = None if transfer is None else query_votes(cells, groups, source, transfer)
        similar = similar_hits(to_state, source, transfer, votes)
        coherences = None if groups is None else coherence(cells, groups, source, transfer, votes)
        provenance = origin(source)
    if max_distance is not None:
        far = neighbors.distances > np.float32(max_distance)
        distances = np.where(far, np.float32(np.inf), neighbors.distances)
        neighbors, similar = Neighbors(distances, np.where(far, -1, neighbors.ids)), similar & ~far
    params: dict[str, Any] = {"use_rep": use_rep, "k": k, "where": where or "", "groupby": groupby or ""}
    params |= {"max_distance": 2.0 if max_distance is None else float(max_distance), "duplicates": duplicates}
    params |= {"primary_only": primary is not None} | ({} if groups is None else {"centroid": centroid})

    adata = adata.copy() if copy else adata
    hits = {"ids": neighbors.ids, "distances": neighbors.distances, "similar": similar}
    results: dict[str, Any] = {"params": params, "atlas": provenance, "n_cells_empty": report_empty(cells)}
    if groups is None:
        results |= {f"{name}_key": f"{key_added}_{name}" for name in keys.HITS}
    else:
        results |= {"groups": groups.names.astype(str), **hits, "coherence": coherences}
    obsm = {f"_{name}": values for name, values in hits.items()} if groups is None else {}
    write_slots(adata, SEARCH, key_added, results, obsm=obsm)
    kept = "all cells" if duplicates == "keep" else "primary cells, equal ones once" if primary else "equal cells once"
    n_hits, n_similar, n_queries = int((neighbors.ids >= 0).sum()), int(similar.sum()), len(neighbors.ids)
    message = "wrote uns[%r]: %d hits, up to %d for each of %d queries (%s); %d of them are like their query"
    logger.info(message, key_added, n_hits, k, n_queries, kept, n_similar)
    return adata if copy else None


def _distances_to(centroids: Floats, ids: Ints, atlas: Atlas) -> Neighbors:
    """Return cosine distances of the hits of each group to its own centroid, in the order of the hits."""
    found = ids >= 0
    distinct, position = np.unique(ids[found], return_inverse=True)
    rows = atlas.index.vectors(distinct)[position]
    distances = np.full(ids.shape, np.inf, dtype=np.float32)
    distances[found] = cosine_distances(np.einsum("ij,ij->i", rows, centroids[np.nonzero(found)[0]]))
    return Neighbors(distances, ids)
