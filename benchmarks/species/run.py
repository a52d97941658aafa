"""Compare mappings of mouse genes to human genes, and choices among several orthologs.

Embeds and annotates mouse cells with the packaged atlas of human cells, once with `species="mouse"`, and with
other tables of orthologs. FOLDER holds resources/ with the tables that `scripts/make_ortholog_table.py` reads.

    python benchmarks/species/run.py MOUSE.h5ad FOLDER --label-key cell_ontology_class
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.metrics import f1_score

import scim
from scim._core import ScimWarning

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from make_ortholog_table import named_pairs, one_each, read_pairs


def tables(folder: Path, names: pd.Index) -> dict[str, pd.DataFrame]:
    """Return tables of orthologs: mouse, human, weight of the count."""
    pairs, named = read_pairs(folder), named_pairs(folder)
    size = pairs.groupby("mouse")["human"].transform("size")
    symbol = pd.Series(scim.pp.gene_symbols(pairs["human"].to_numpy()), index=pairs.index)
    same = symbol == pairs["mouse"].str.upper()
    by_choice = pairs.assign(other=~same, symbol=symbol).sort_values(["other", "symbol"], kind="stable")
    capitals = pd.DataFrame({"mouse": names, "human": scim.pp.canonical_genes(names.str.upper())})
    lost = capitals[~capitals["mouse"].isin(pairs["mouse"])]
    return {
        "names in capitals": capitals,
        "Ensembl, genes with several orthologs left out": pairs[size == 1],
        "Ensembl, of several the one of the same name, or none": pairs[(size == 1) | same],
        "Ensembl, of several the one of the same name, or the first": by_choice.drop_duplicates("mouse"),
        "Ensembl, each of several gets the count": pairs,
        "Ensembl, several share the count": pairs.assign(weight=1 / size),
        "Ensembl (first), capitals for missing symbols": pd.concat([by_choice.drop_duplicates("mouse"), lost]),
        "as packaged, table of the script": one_each(pairs, named),
    }


def mapped(adata: anndata.AnnData, table: pd.DataFrame) -> anndata.AnnData:
    """Return the cells with human genes; counts of columns that map to the same gene are summed."""
    table = table[table["mouse"].isin(adata.var_names)]
    genes = pd.Index(table["human"].unique())
    weights = table["weight"].to_numpy() if "weight" in table else np.ones(len(table))
    where = adata.var_names.get_indexer(table["mouse"]), genes.get_indexer(table["human"])
    W = sparse.csr_matrix((weights, where), shape=(adata.n_vars, len(genes)))
    return anndata.AnnData(sparse.csr_matrix(adata.X) @ W, obs=adata.obs.copy(), var=pd.DataFrame(index=genes))


def measured(adata: anndata.AnnData, label_key: str, species: str) -> dict[str, float]:
    """Return accuracy and macro-F1 over the types of the atlas, with every cell labelled and with the defaults."""
    with scim.atlas.open(scim.atlas.PACKAGED) as atlas, warnings.catch_warnings():
        warnings.simplefilter("ignore", ScimWarning)
        scim.tl.embed(adata, atlas, layer="X", species=species)
        truth = adata.obs[label_key].astype(str).to_numpy()
        known = np.isin(truth, list(atlas.info()["labels"]))
        note = adata.uns["scim"]["X_scim"]
        out = {"genes": note["n_genes_shared"], "mapped": note.get("mapped_share", np.nan)}
        for name, max_error in (("", 1.0), (", default", 0.1)):
            scim.tl.annotate(adata, atlas, max_error=max_error)
            given = adata.obs["scim_label"].astype(object).fillna("unknown").to_numpy(dtype=str)
            right = scim.ontology.is_descendant(sorted(set(truth)), sorted(set(given)))
            right = right[np.searchsorted(sorted(set(truth)), truth), np.searchsorted(sorted(set(given)), given)]
            given = np.where(right, truth, given)
            labels = sorted(set(truth[known]))
            f1 = f1_score(truth[known], given[known], labels=labels, average="macro", zero_division=0)
            out |= {f"accuracy{name}": right[known].mean(), f"F1{name}": f1}
        out |= {
            "labelled": (given[known] != "unknown").mean(),
            "novel types labelled": (given[~known] != "unknown").mean(),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mouse", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--label-key", default="cell_ontology_class")
    arguments = parser.parse_args()
    logging.getLogger("scim").setLevel(logging.ERROR)
    adata = anndata.read_h5ad(arguments.mouse)
    counts = np.asarray(adata.X.sum(axis=0)).ravel()
    rows = {'species="mouse"': measured(adata.copy(), arguments.label_key, "mouse")}
    found = ~np.char.startswith(scim.pp.canonical_genes(adata.var_names, species="mouse").astype(str), "mouse:")
    print(
        f"{adata.n_obs} cells; {found.sum()} of {adata.n_vars} genes mapped, "
        f"{counts[found].sum() / counts.sum():.1%} of the counts"
    )
    for name, table in tables(arguments.folder, adata.var_names).items():
        rows[name] = measured(mapped(adata, table), arguments.label_key, "human")
    print(pd.DataFrame(rows).T.round(4).to_string())


if __name__ == "__main__":
    main()
