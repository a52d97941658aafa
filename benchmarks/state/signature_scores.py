"""Score all cells by the signature of each state: its fifty genes of highest t-statistic in its own study.

`score_genes` of Scanpy subtracts the mean of control genes; AUCell (peer_scores.py) ranks the genes of each cell. Both
read the genes of the signature that a file has, and give no score to files with fewer than five of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import states

import scim

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tissue_cases import Cells

    Scores = dict[str, NDArray[np.float32]]

N_GENES = 50
LEAST_GENES = 5
"""Of a signature, in a file; the default of decoupler."""


def lognormalised(cells: Cells) -> Cells:
    """Return log(1 + x), x normalised to 10,000 a cell, of genes with Ensembl ids; the first of equal ids is kept."""
    out = {}
    for file, adata in cells.items():
        genes = pd.Index(scim.pp.canonical_genes(scim.pp.genes_of(adata.var)))
        kept = ~genes.duplicated()
        values = ad.AnnData(adata.X[:, kept].astype(np.float32), obs=adata.obs, var=pd.DataFrame(index=genes[kept]))
        sc.pp.normalize_total(values, target_sum=1e4)
        sc.pp.log1p(values)
        out[file] = values
    return out


def signatures(cells: Cells) -> dict[str, list[str]]:
    """Return the genes of each state."""
    return {state.name: signature(cells, state) for state in states.STATES}


def signature(cells: Cells, state: states.State) -> list[str]:
    """Return the genes of a state, by its t-test against the other cells of its study."""
    adata = next(adata for adata in cells.values() if (adata.obs["study"] == state.study).any())
    study = adata[adata.obs["study"] == state.study].copy()
    study.obs["group"] = pd.Categorical(np.where(states.is_query(study.obs, state), "state", "rest"))
    sc.tl.rank_genes_groups(study, "group", groups=["state"], method="t-test", n_genes=N_GENES)
    genes: list[str] = study.uns["rank_genes_groups"]["names"]["state"].tolist()
    return genes


def score_genes(cells: Cells, genes: dict[str, list[str]]) -> Scores:
    """Return `scanpy.tl.score_genes` of all cells for each state, by name; NaN in files without its genes."""
    out: dict[str, list[NDArray[np.float32]]] = {name: [] for name in genes}
    for adata in cells.values():
        for name, signature in genes.items():
            present = [gene for gene in signature if gene in adata.var_names]
            if len(present) < LEAST_GENES:
                out[name].append(np.full(adata.n_obs, np.nan, dtype=np.float32))
                continue
            sc.tl.score_genes(adata, present, score_name="score", random_state=0)
            out[name].append(adata.obs.pop("score").to_numpy(dtype=np.float32))
    return {name: np.concatenate(parts) for name, parts in out.items()}
