"""Measure the coherence of real queries against the packaged atlas, beside the published measure by number of hits.

    python benchmarks/coherence/coherence.py --data FOLDER

`FOLDER` has pbmc3k.h5ad, zheng_facs.h5ad and baron_human234.h5ad. A query is a type of one of them, a mixture of types
of one, or cells of two. `scim` is `uns["scim_search"]["coherence"]`; the others are the share of the 100 nearest cells
of each centroid that is among the k nearest of the query. "By means": `centroid="embedding"`.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

import scim
from scim.tl._group_queries import _centres

FILES = {"pbmc3k": "cell_type", "zheng_facs": "celltype", "baron_human234": "cell_ontology_class"}
TWO = [("B", "CD14+ Mono"), ("NK", "B"), ("CD14+ Mono", "FCGR3A+ Mono"), ("B", "pancreatic A cell")]
KS = (50, 1_000, 3_000, 10_000)


def read(folder: Path) -> dict[str, anndata.AnnData]:
    found = {}
    for name, column in FILES.items():
        adata = anndata.read_h5ad(folder / f"{name}.h5ad")
        adata.var_names_make_unique()
        adata.obs = pd.DataFrame({"type": adata.obs[column].astype(object)}, index=adata.obs_names)
        scim.tl.embed(adata)
        found[name] = adata[adata.obs["type"].notna()].copy()
    return found


def queries(data: dict[str, anndata.AnnData]) -> dict[str, anndata.AnnData]:
    """Return one AnnData for each query."""
    rng, made = np.random.default_rng(0), {}
    for name, adata in data.items():
        sizes = adata.obs["type"].value_counts()
        for kind in sizes.index[sizes >= 10]:
            made[f"{name}: {kind}"] = adata[adata.obs["type"] == kind]
        made[f"{name}, mixture: all"] = adata
        made[f"{name}, mixture: 300 cells"] = adata[rng.choice(adata.n_obs, 300, replace=False)]
        rows = [
            rng.choice(np.flatnonzero(adata.obs["type"] == kind), 14, replace=False)
            for kind in sizes.index[sizes >= 14]
        ]
        made[f"{name}, mixture: 14 of each type"] = adata[np.concatenate(rows)]
    both = anndata.concat([data["pbmc3k"], data["baron_human234"]], index_unique="-")  # the genes of both
    for n in (50, 150):
        rows = [rng.choice(data["pbmc3k"].n_obs, n), data["pbmc3k"].n_obs + rng.choice(data["baron_human234"].n_obs, n)]
        made[f"mixture: {n} of blood, {n} of pancreas"] = both[np.concatenate(rows)]
    for pair in TWO:
        rows = [np.flatnonzero(both.obs["type"] == kind)[:100] for kind in pair]
        made["two in equal parts: " + " + ".join(pair)] = both[np.concatenate(rows)]
    return made


def by_number(adata: anndata.AnnData, atlas: scim.atlas.Atlas, hits: np.ndarray) -> list[float]:
    """Return the published measure with the first k hits, for each k."""
    near = atlas.index.query(_centres(adata.obsm["X_scim"]), 100, distinct=True).ids
    return [100 * np.isin(near, hits[:k]).mean() for k in KS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    data = read(parser.parse_args().data)
    warnings.simplefilter("ignore")
    print("query | cells | scim | by means | " + " | ".join(f"{k} hits" for k in KS))
    with scim.atlas.open() as atlas:
        for name, view in queries(data).items():
            adata = view.copy()
            adata.obs["query"] = "query"
            found = []
            for how in ({"k": 5, "centroid": "embedding"}, {"k": 5}, {"k": max(KS)}):
                scim.tl.search(adata, atlas, groupby="query", **{"centroid": "counts"} | how)
                found.append(adata.uns["scim_search"]["coherence"][0])
            assert found[1] == found[2]  # the same for every k
            numbers = by_number(adata, atlas, adata.uns["scim_search"]["ids"][0])
            print(
                f"{name} | {adata.n_obs} | {found[1]:.0f} | {found[0]:.0f} | "
                + " | ".join(f"{x:.0f}" for x in numbers),
                flush=True,
            )


if __name__ == "__main__":
    main()
