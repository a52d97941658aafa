"""Make `src/scim/pp/genes.tsv.gz`, the names by which a human gene is and was known.

Sources: HGNC, May 2020 (CC0), for current and previous symbols; the CELLxGENE gene table (MIT) for the names since.

    python scripts/make_gene_table.py FOLDER_WITH_THE_TWO_TABLES
"""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import pandas as pd

TARGET = Path(__file__).parents[1] / "src" / "scim" / "pp" / "genes.tsv.gz"


def main(folder: Path) -> None:
    hgnc = pd.read_csv(folder / "hgnc_2020-05.tsv.gz", sep="\t", dtype=str, keep_default_na=False)
    hgnc = hgnc[hgnc["ensembl_gene_id"] != ""].drop_duplicates("ensembl_gene_id").set_index("ensembl_gene_id")
    newer = pd.read_csv(
        folder / "cellxgene_genes_homo_sapiens.csv.gz", header=None, usecols=[0, 1], dtype=str, keep_default_na=False
    )
    newest = {gene: symbol for gene, symbol in newer.itertuples(index=False) if symbol not in ("", gene)}

    rows = []
    for gene in sorted(set(newest) | set(hgnc.index)):
        known = hgnc.loc[gene] if gene in hgnc.index else None
        symbol = newest.get(gene) or known["symbol"]
        before = [] if known is None else [known["symbol"], *known["prev_symbol"].split("|")]
        previous = sorted({name for name in before if name and name != symbol})
        rows.append((gene, symbol, "|".join(previous)))
    text = pd.DataFrame(rows, columns=["ensembl", "symbol", "previous"]).to_csv(sep="\t", index=False)
    with TARGET.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as packed:
        io.TextIOWrapper(packed, encoding="utf-8", newline="").write(text)
    print(f"{TARGET.name}: {len(rows)} genes, {TARGET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
