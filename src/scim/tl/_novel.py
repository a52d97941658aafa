"""Find clusters of cells that are unlike the atlas, and the genes that set them apart from their nearest label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core import check_count, check_obs_key, check_positive, check_range, check_rng, keys, logger, seed_of
from scim._core.adata import Groups, annotation_record, embedding_record, groups_of
from scim._core.fork import refuse_fork
from scim._core.kernel_cache import cache_folder
from scim.atlas._open import opened_again
from scim.tl._expression import query_expression
from scim.tl._novel_genes import gene_table
from scim.tl._representation import query_embedding, unit_embedding
from scim.tl._slots import NOVEL, check_slots, write_slots

if TYPE_CHECKING:
    from anndata import AnnData

    from scim._core.types import Bools, Floats
    from scim.tl._inputs import AtlasLike

_N_NEIGHBORS = 15  # of the graph, as in scanpy


def novel(
    adata: AnnData,
    atlas: AtlasLike = None,
    *,
    groupby: str | None = None,
    key: str = keys.LABEL,
    threshold: float = 0.5,
    n_genes: int = 25,
    min_cells: int = 10,
    resolution: float = 1.0,
    rng: int | np.random.Generator | None = 0,
    key_added: str = keys.NOVEL,
    copy: bool = False,
) -> AnnData | None:
    r"""Find clusters of cells that are unlike the atlas, and their genes against the nearest reference label.

    The novel cells, those with a novelty of at least `threshold`, are clustered in the embedding (Leiden, on the graph
    of their 15 nearest neighbours), or taken as the groups that `groupby` gives. The nearest label of a cluster is that
    with the largest mean share of the vote. With the cells :math:`i` of a cluster, counts :math:`x`, the genes
    :math:`G` that query and atlas share, and the mean :math:`m` that the atlas keeps of the label, the log fold change
    of gene :math:`g` is

    .. math::

        \frac{1}{n} \sum_i \log\Bigl(1 + \frac{s \, x_{ig}}{\sum_{h \in G} x_{ih}}\Bigr) - m_g,

    where :math:`s` is :math:`10^4` times the share of the genes :math:`G` in the counts of a typical cell of the atlas,
    and :math:`m_g` is 0 for genes that the atlas keeps no mean of, because hardly any of its cells express them. What
    the cells of the query that are not novel express more of than their own labels do is technical, and subtracted.

    Parameters
    ----------
    adata
        Cells annotated by :func:`scim.tl.annotate`.
    atlas
        The atlas, open or by its present path. Default: the path at which the cells were annotated.
    groupby
        Column of obs with clusters, such as `"leiden"`: those with most cells novel are taken, their novel cells alone.
        Default: novel cells are clustered here.
    key
        `key_added` of the annotation.
    threshold
        Least novelty of a novel cell, 0 to 1.
    n_genes
        Number of genes for each cluster.
    min_cells
        Least number of novel cells of a cluster.
    resolution
        Of Leiden: more gives more and smaller clusters.
    rng
        Seed or generator of neighbours and clusters.
    key_added
        Name under which the result is written.
    copy
        Whether to return a new AnnData and leave this one alone.

    Returns
    -------
    `None`, or with `copy=True` the new AnnData. Writes, with `key_added="scim_novel"`:

    `adata.obs["scim_novel"]` : categorical
        The cluster of each novel cell, largest first; missing = not novel, or of no cluster of `min_cells`.
    `adata.uns["scim_novel"]["clusters"]` : DataFrame
        A row for each cluster: `cluster`, `n_cells`, `nearest_label`, `nearest_label_id`, and the mean `novelty` and
        `confidence` of its cells.
    `adata.uns["scim_novel"]["genes"]` : DataFrame
        Up to `n_genes` rows for each cluster, the largest log fold change first, all above 0: `cluster`, `gene` (as in
        `adata.var_names`), `log_fold_change`, and `share` of the cells of the cluster that express it. Empty, with a
        line of the log, if the atlas has no expression statistics or the counts are gone.
    `adata.uns["scim_novel"]["params"]` : dict
    `adata.uns["scim_novel"]["n_cells_empty"]` : int
        Cells without counts, which are of no cluster.

    :func:`scim.get.novel` returns a table of the genes, :func:`scim.pl.novelty` draws where novel cells are.

    Raises
    ------
    KeyError
        There is no annotation of this name (run `scim.tl.annotate` first), or no column `groupby`.
    ValueError
        The atlas is not the one that the cells were annotated with.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata, where="tissue == 'pancreas'")  # an atlas without blood
    >>> scim.tl.novel(adata, groupby="cell_type")
    >>> scim.get.novel(adata).columns.tolist()
    ['cluster', 'n_cells', 'nearest_label', 'gene', 'log_fold_change', 'share']
    """
    check_slots(adata, NOVEL, key_added, copy=copy, groupby=groupby)
    check_range("threshold", threshold, 1.0)
    n_genes = check_count("n_genes", n_genes)
    min_cells = check_count("min_cells", min_cells)
    check_positive("resolution", resolution)
    generator = check_rng(rng)
    record = annotation_record(adata, key)
    groups = None if groupby is None else groups_of(adata, groupby)
    check_obs_key(adata, f"{key}_novelty")
    novelty = adata.obs[f"{key}_novelty"].to_numpy()
    is_novel, is_empty = novelty >= threshold, np.isnan(novelty)  # a cell without counts has no novelty
    use_rep = record["params"]["use_rep"]
    if groups is None:
        clusters = _leiden(unit_embedding(adata, use_rep), is_novel, min_cells, resolution, generator)
    else:
        with_counts = Groups(groups.names, np.where(is_empty, -1, groups.codes))
        clusters = _novel_groups(with_counts, is_novel, min_cells)
    table = _cluster_table(adata, clusters, record, key)
    with opened_again(record["atlas"], atlas) as source:
        transfer = source.label_transfer(record["params"]["label_key"])
        known = embedding_record(adata, use_rep) or query_embedding(adata, source, use_rep).record
        query = query_expression(adata, transfer, use_rep, known) if len(table) else None
        genes = gene_table(clusters, _by_label(adata, record, key, ~is_novel), table["nearest_label"], query, n_genes)

    adata = adata.copy() if copy else adata
    params = {"key": key, "groupby": groupby or "", "threshold": float(threshold), "min_cells": min_cells}
    params |= {"n_genes": n_genes, "resolution": float(resolution), "rng": seed_of(rng)}
    of_cells = pd.Categorical.from_codes(clusters.codes, pd.Index(clusters.names, dtype=object))
    results = {"params": params, "atlas": dict(record["atlas"]), "clusters": table, "genes": genes}
    results["n_cells_empty"] = int(is_empty.sum())
    write_slots(adata, NOVEL, key_added, results, obs={"": of_cells})
    n_found, what = int((clusters.codes >= 0).sum()), f"{len(table)} clusters"
    logger.info("wrote obs[%r]: %s of %d of %d novel cells", key_added, what, n_found, int(is_novel.sum()))
    return adata if copy else None


def _leiden(X: Floats, is_novel: Bools, min_cells: int, resolution: float, rng: np.random.Generator) -> Groups:
    """Return clusters of the novel cells by the graph of their neighbours, largest first."""
    rows, codes = np.flatnonzero(is_novel), np.full(len(X), -1)
    if rows.size < max(min_cells, 3):  # a graph needs three cells
        return Groups(np.empty(0, dtype=object), codes)
    import anndata  # noqa: PLC0415  (the import of scim is light)

    refuse_fork("Clustering novel cells")  # with kernels of umap, which have threads
    cells = anndata.AnnData(obs=pd.DataFrame(index=rows.astype(str)), obsm={"X": X[rows]})
    seed = int(rng.integers(2**31))
    with cache_folder():
        import scanpy as sc  # noqa: PLC0415  (takes seconds to load)

        sc.pp.neighbors(cells, min(_N_NEIGHBORS, rows.size - 1), use_rep="X", random_state=seed)
    arguments: dict[str, Any] = {"flavor": "igraph", "n_iterations": 2, "directed": False}
    sc.tl.leiden(cells, resolution=resolution, random_state=seed, **arguments)
    codes[rows] = cells.obs["leiden"].cat.codes
    n = int(codes.max()) + 1
    found = _largest(Groups(np.arange(n).astype(object), codes), np.ones(n, dtype=np.bool_), min_cells)
    return found._replace(names=np.arange(len(found.names)).astype(str).astype(object))


def _novel_groups(groups: Groups, is_novel: Bools, min_cells: int) -> Groups:
    """Return the novel cells of the groups with most cells novel, largest first."""
    n_groups, member = len(groups.names), groups.codes >= 0
    n_cells = np.bincount(groups.codes[member], minlength=n_groups)
    n_novel = np.bincount(groups.codes[member & is_novel], minlength=n_groups)
    cells = Groups(groups.names, np.where(is_novel, groups.codes, -1))
    return _largest(cells, 2 * n_novel > n_cells, min_cells)


def _largest(groups: Groups, kept: Bools, min_cells: int) -> Groups:
    """Return the groups that are kept and have enough cells, largest first."""
    size = np.bincount(groups.codes[groups.codes >= 0], minlength=len(groups.names))
    order = np.argsort(-size, kind="stable")
    order = order[kept[order] & (size[order] >= min_cells)]
    place = np.full(len(groups.names) + 1, -1)  # the last is that of code -1
    place[order] = np.arange(len(order))
    return Groups(groups.names[order], place[groups.codes])


def _cluster_table(adata: AnnData, clusters: Groups, record: dict[str, Any], key: str) -> pd.DataFrame:
    """Return a row for each cluster."""
    n, rows = len(clusters.names), np.flatnonzero(clusters.codes >= 0)
    codes, size = clusters.codes[rows], np.bincount(clusters.codes[rows], minlength=n)
    tops, shares = (np.asarray(adata.obsm[f"{key}_{name}"])[rows] for name in ("codes", "shares"))
    total = np.zeros((n, len(record["labels"])))
    cell, rank = np.nonzero(tops >= 0)
    np.add.at(total, (codes[cell], tops[cell, rank]), shares[cell, rank])
    nearest = total.argmax(axis=1)
    means = {name: adata.obs[f"{key}_{name}"].to_numpy()[rows] for name in ("novelty", "confidence")}
    return pd.DataFrame(
        {
            "cluster": clusters.names.astype(object),
            "n_cells": size,
            "nearest_label": np.asarray(record["labels"], dtype=object)[nearest],
            "nearest_label_id": np.asarray(record["label_ids"], dtype=object)[nearest],
        }
        | {name: (np.bincount(codes, values, n) / size).astype(np.float32) for name, values in means.items()},
        index=[str(i) for i in range(n)],
    )


def _by_label(adata: AnnData, record: dict[str, Any], key: str, which: Bools) -> Groups:
    """Return some cells by the label with most votes."""
    codes = np.where(which, np.asarray(adata.obsm[f"{key}_codes"])[:, 0], -1)
    return Groups(np.asarray(record["labels"], dtype=object), codes.astype(np.int64))
