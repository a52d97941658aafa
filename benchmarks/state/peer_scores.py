"""Run the methods of other packages, in their environment: this file imports neither scim nor its benchmarks.

    python benchmarks/state/peer_scores.py signature FILE.h5ad GENES.json OUT.npz
    python benchmarks/state/peer_scores.py harmony PCA.npz OUT.npz

`signature`: AUCell (decoupler) and UCell (pyucell) of the cells of one file; `harmony`: harmonypy on `X`, by `study`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anndata as ad
import decoupler
import harmonypy
import numpy as np
import pandas as pd
import pyucell

LEAST_GENES = 5
RANKED = 1500
"""Genes that AUCell and UCell rank at most; UCell's default. AUCell's, .05 of all genes, is 1,000 of 20,000."""


def signature(file: str, genes: str, out: str) -> None:
    """Write arrays `aucell NAME` and `ucell NAME`, (n_obs,), NaN with fewer than five genes."""
    adata = ad.read_h5ad(file)
    given = json.loads(Path(genes).read_text(encoding="utf-8"))
    present = {name: [gene for gene in found if gene in adata.var_names] for name, found in given.items()}
    named = {name: found for name, found in present.items() if len(found) >= LEAST_GENES}
    scores = {}
    if named:
        net = pd.DataFrame(
            [(name, gene) for name, found in named.items() for gene in found], columns=["source", "target"]
        )
        decoupler.mt.aucell(adata, net, tmin=LEAST_GENES)
        aucell = adata.obsm["score_aucell"]
        pyucell.compute_ucell_scores(adata, named, max_rank=min(RANKED, adata.n_vars), n_jobs=1)
        scores = {f"aucell {name}": aucell[name].to_numpy() for name in aucell.columns}
        scores |= {f"ucell {name}": adata.obs[f"{name}_UCell"].to_numpy() for name in named}
    np.savez(out, **{name: np.asarray(values, dtype=np.float32) for name, values in scores.items()})


def harmony(pca: str, out: str) -> None:
    """Write the corrected components as `X`, with the `ids` of the cells."""
    given = np.load(pca, allow_pickle=False)
    found = harmonypy.run_harmony(given["X"].astype(np.float64), pd.DataFrame({"study": given["study"]}), "study")
    corrected = np.asarray(found.Z_corr)
    X = corrected if corrected.shape == given["X"].shape else corrected.T
    np.savez(out, X=X.astype(np.float32), ids=given["ids"])


if __name__ == "__main__":
    {"signature": signature, "harmony": harmony}[sys.argv[1]](*sys.argv[2:])
