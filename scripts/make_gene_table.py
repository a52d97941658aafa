"""Write `src/scim/pp/genes.tsv.gz`, the current and previous names of human genes.

Sources: HGNC, May 2020 (CC0), for current and previous symbols; the CELLxGENE gene table (MIT) for later names; the
genes of a study annotated in 2013 that lists ids and symbols (Zheng et al., BSD-2-Clause), for retired ids.

    python scripts/make_gene_table.py FOLDER_OF_DATA
"""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import anndata
import pandas as pd

TARGET = Path(__file__).parents[1] / "src" / "scim" / "pp" / "genes.tsv.gz"


def retired_ids(table: pd.DataFrame, old: pd.Series) -> list[str]:
    """Return for each gene the ids of its symbol in an old annotation that are not in the table."""
    old = old[~old.index.isin(table["ensembl"])]
    # Where a symbol had two ids, one of them was another gene.
    old = old[~old.duplicated(keep=False)]
    by_symbol = dict(zip(old, old.index, strict=True))
    names = [
        [symbol, *previous.split("|")] for symbol, previous in zip(table["symbol"], table["previous"], strict=True)
    ]
    return [next((by_symbol[name] for name in own if name in by_symbol), "") for own in names]


def main(folder: Path) -> None:
    tables = folder / "resources"
    hgnc = pd.read_csv(tables / "hgnc_2020-05.tsv.gz", sep="\t", dtype=str, keep_default_na=False)
    hgnc = hgnc[hgnc["ensembl_gene_id"] != ""].drop_duplicates("ensembl_gene_id").set_index("ensembl_gene_id")
    newer = pd.read_csv(
        tables / "cellxgene_genes_homo_sapiens.csv.gz", header=None, usecols=[0, 1], dtype=str, keep_default_na=False
    )
    newest = {gene: symbol for gene, symbol in newer.itertuples(index=False) if symbol not in ("", gene)}

    rows = []
    for gene in sorted(set(newest) | set(hgnc.index)):
        known = hgnc.loc[gene] if gene in hgnc.index else None
        symbol = newest.get(gene) or known["symbol"]
        before = [] if known is None else [known["symbol"], *known["prev_symbol"].split("|")]
        previous = sorted({name for name in before if name and name != symbol})
        rows.append((gene, symbol, "|".join(previous)))
    table = pd.DataFrame(rows, columns=["ensembl", "symbol", "previous"])
    table["retired"] = retired_ids(table, anndata.read_h5ad(folder / "zheng_facs.h5ad", backed="r").var["symbol"])
    text = table.to_csv(sep="\t", index=False)
    with TARGET.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as packed:
        io.TextIOWrapper(packed, encoding="utf-8", newline="").write(text)
    print(f"{TARGET.name}: {len(rows)} genes, {TARGET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
