"""Score all cells by the centroid, or by the nearest cells, of each state in a latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import states
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tissue_cases import Cells

    Scores = dict[str, NDArray[np.float32]]

N_HIGHLY_VARIABLE = 2000
N_COMPONENTS = 50
N_NEAREST = 10
WHOLE = 8000
"""Files with so many genes measured the whole transcriptome; the others have gene panels."""


def is_whole(cells: Cells) -> NDArray[np.bool_]:
    """Return which cells were measured on the whole transcriptome."""
    return np.concatenate([np.full(adata.n_obs, adata.n_vars >= WHOLE) for adata in cells.values()])


def pca(cells: Cells, *, panels: bool) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Return fifty components of highly variable genes, (n, 50), and the names of the cells.

    `cells` are log-normalised. Without panels: of the genes that all files of the whole transcriptome have. With
    panels: of all files, genes that a file has not are zero, as when data sets are concatenated.
    """
    chosen = list(cells.values()) if panels else [adata for adata in cells.values() if adata.n_vars >= WHOLE]
    whole = [set(adata.var_names) for adata in chosen if adata.n_vars >= WHOLE]
    shared = sorted(set.intersection(*whole))
    joined = ad.concat([_columns(adata, shared) for adata in chosen])
    counted = joined[np.concatenate([np.full(adata.n_obs, adata.n_vars >= WHOLE) for adata in chosen])].copy()
    sc.pp.highly_variable_genes(counted, n_top_genes=N_HIGHLY_VARIABLE, batch_key="study")
    joined = joined[:, counted.var["highly_variable"].to_numpy()].copy()
    sc.pp.pca(joined, n_comps=N_COMPONENTS, random_state=0)
    return joined.obsm["X_pca"].astype(np.float32), joined.obs_names.to_numpy(dtype=str)


def _columns(adata: ad.AnnData, genes: list[str]) -> ad.AnnData:
    """Return the columns of genes; zeros for those that are not there."""
    position = pd.Index(adata.var_names).get_indexer(genes)
    found = np.flatnonzero(position >= 0)
    ones = np.ones(len(found), dtype=np.float32)
    onto = sparse.csr_matrix((ones, (position[found], found)), shape=(adata.n_vars, len(genes)))
    return ad.AnnData(sparse.csr_matrix(adata.X @ onto), obs=adata.obs[["study"]], var=pd.DataFrame(index=genes))


def score(X: NDArray[np.float32], ids: NDArray[np.str_], obs: pd.DataFrame, *, nearest: bool = False) -> Scores:
    """Return the cosine similarity of all cells of `obs` to each state; NaN for cells that are not among the `ids`.

    By the centroid of the state, or, if `nearest`, the mean of the similarities to its ten most similar cells.
    A state without cells has no scores.
    """
    rows = pd.Index(ids).get_indexer(obs.index)
    there = rows >= 0
    unit = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)
    out = {}
    for state in states.STATES:
        query = rows[states.is_query(obs, state) & there]
        if not query.size:
            continue
        values = np.full(len(obs), np.nan, dtype=np.float32)
        values[there] = (_by_nearest if nearest else _by_centroid)(unit, X[query])[rows[there]]
        out[state.name] = values
    return out


def _by_centroid(unit: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    centroid = query.mean(axis=0)
    return unit @ (centroid / np.linalg.norm(centroid))


def _by_nearest(unit: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    query = query / np.maximum(np.linalg.norm(query, axis=1, keepdims=True), 1e-12)
    query = query[:: max(1, len(query) // 500)]
    k = min(N_NEAREST, len(query))
    return np.concatenate(
        [np.partition(part @ query.T, -k, axis=1)[:, -k:].mean(axis=1) for part in np.array_split(unit, 20)]
    )
