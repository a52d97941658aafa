"""Score all cells by the centroid, the nearest cells, or the contrasted centroid of each state in a latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

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
    By = Literal["centroid", "nearest", "contrast"]

N_HIGHLY_VARIABLE = 2000
N_COMPONENTS = 50
N_NEAREST = 10
WHOLE = 8000
"""Files with so many genes measured the whole transcriptome; the others have gene panels."""


def is_whole(cells: Cells) -> NDArray[np.bool_]:
    """Return which cells were measured on the whole transcriptome."""
    return np.concatenate([np.full(adata.n_obs, adata.n_vars >= WHOLE) for adata in cells.values()])


def pca(cells: Cells, *, panels: bool) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Return fifty components of scaled highly variable genes, (n, 50), and the names of the cells.

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
    sc.pp.scale(joined, max_value=10)
    sc.pp.pca(joined, n_comps=N_COMPONENTS, random_state=0)
    return joined.obsm["X_pca"].astype(np.float32), joined.obs_names.to_numpy(dtype=str)


def _columns(adata: ad.AnnData, genes: list[str]) -> ad.AnnData:
    """Return the columns of genes; zeros for those that are not there."""
    position = pd.Index(adata.var_names).get_indexer(genes)
    found = np.flatnonzero(position >= 0)
    ones = np.ones(len(found), dtype=np.float32)
    onto = sparse.csr_matrix((ones, (position[found], found)), shape=(adata.n_vars, len(genes)))
    return ad.AnnData(sparse.csr_matrix(adata.X @ onto), obs=adata.obs[["study"]], var=pd.DataFrame(index=genes))


def score(X: NDArray[np.float32], ids: NDArray[np.str_], obs: pd.DataFrame, by: By) -> Scores:
    """Return the cosine similarity of all cells of `obs` to each state; NaN for cells that are not among the `ids`.

    A state without cells has no scores.
    """
    rows = pd.Index(ids).get_indexer(obs.index)
    there = np.flatnonzero(rows >= 0)
    unit, obs_there = _unit(X[rows[there]]), obs.iloc[there]
    out = {}
    for state in states.STATES:
        chosen = states.is_query(obs_there, state)
        if not chosen.any():
            continue
        values = np.full(len(obs), np.nan, dtype=np.float32)
        if by == "nearest":
            values[there] = _nearest(unit, unit[chosen])
        else:
            query = _unit(X[rows[there]][chosen].mean(axis=0))
            values[there] = unit @ (
                query if by == "centroid" else _contrast(query, unit, chosen, obs_there, state.study)
            )
        out[state.name] = values
    return out


def _unit(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of length 1."""
    return X / np.maximum(np.linalg.norm(X, axis=-1, keepdims=True), 1e-12)


def _nearest(unit: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean similarity to the ten most similar of at most a thousand cells of a state."""
    query = query[:: -(-len(query) // 1000)]
    k = min(N_NEAREST, len(query))
    parts = (np.partition(part @ query.T, -k, axis=1)[:, -k:] for part in np.array_split(unit, 20))
    return np.concatenate([part.mean(axis=1) for part in parts])


def _contrast(
    query: NDArray[np.float32], unit: NDArray[np.float32], chosen: NDArray[np.bool_], obs: pd.DataFrame, study: str
) -> NDArray[np.float32]:
    """Return the query less half the mean of the centroids of the other groups of its study, near ones weighted more.

    As `centroid="contrast"` of scim: weights are the softmax of the similarity to the query / .1.
    """
    words = obs["author_cell_type"].astype(str).to_numpy()
    others = (obs["study"] == study).to_numpy() & obs["label"].notna().to_numpy() & ~chosen
    centroids = _unit(np.array([unit[others & (words == word)].mean(axis=0) for word in np.unique(words[others])]))
    weights = np.exp((centroids @ query - 1) / 0.1)
    return _unit(query - 0.5 * _unit(weights @ centroids))
