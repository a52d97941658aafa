"""Run the methods of other packages, in their environment: this file imports neither scim nor its benchmarks.

    python benchmarks/state/peer_scores.py aucell GENES.json FILE.h5ad ...
    python benchmarks/state/peer_scores.py harmony PCA.npz OUT.npz

`aucell`: decoupler's AUCell of the cells of each file, written to FILE.npz; `harmony`: harmonypy on `X`, by `study`.
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

LEAST_GENES = 5


def aucell(genes: str, *files: str) -> None:
    """Write an array (n_obs,) for each signature of which a file has five genes, by its name."""
    signatures = json.loads(Path(genes).read_text(encoding="utf-8"))
    pairs = [(name, gene) for name, found in signatures.items() for gene in found]
    net = pd.DataFrame(pairs, columns=["source", "target"])
    for file in map(Path, files):
        adata = ad.read_h5ad(file)
        present = net[net["target"].isin(adata.var_names)]
        scores = pd.DataFrame(index=adata.obs_names)
        if present["source"].value_counts().max() >= LEAST_GENES:
            decoupler.mt.aucell(adata, present, tmin=LEAST_GENES)
            scores = adata.obsm["score_aucell"]
        np.savez(file.with_suffix(".npz"), **{name: scores[name].to_numpy(dtype=np.float32) for name in scores})


def harmony(pca: str, out: str) -> None:
    """Write the corrected components as `X`, with the `ids` of the cells."""
    given = np.load(pca, allow_pickle=False)
    found = harmonypy.run_harmony(given["X"].astype(np.float64), pd.DataFrame({"study": given["study"]}), "study")
    corrected = np.asarray(found.Z_corr)
    X = corrected if corrected.shape == given["X"].shape else corrected.T
    np.savez(out, X=X.astype(np.float32), ids=given["ids"])


if __name__ == "__main__":
    {"aucell": aucell, "harmony": harmony}[sys.argv[1]](*sys.argv[2:])
