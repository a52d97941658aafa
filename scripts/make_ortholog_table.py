"""Write `src/scim/pp/orthologs_mouse.tsv.gz`, one human gene for each mouse gene that has an ortholog.

A mouse gene with the name of a protein-coding human gene maps to that gene: nomenclature committees give orthologs the
same name. Other mouse genes map to the ortholog of the same name, else to the first in alphabetical order. The reasons
are in benchmarks/NOTES.md, Species.

Sources: the orthologs of Ensembl 105 (its data are free for any use), as the table of symbols that CellTypist (MIT)
ships, `celltypist/data/samples/Ensembl105_Human2Mouse_Genes.csv`, which has no ids of mouse genes; the protein-coding
genes of the CELLxGENE gene table (MIT). Human symbols become the ids of `genes.tsv.gz` (run `make_gene_table.py`
first); symbols that are not in it are left out.

    python scripts/make_ortholog_table.py FOLDER_OF_DATA
"""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import pandas as pd

from scim.pp import canonical_genes, gene_symbols
from scim.pp._gene_names import known_genes

TARGET = Path(__file__).parents[1] / "src" / "scim" / "pp" / "orthologs_mouse.tsv.gz"


def read_pairs(folder: Path) -> pd.DataFrame:
    """Return the pairs of Ensembl, in its order: mouse (symbol), human (id)."""
    file = folder / "resources" / "Ensembl105_Human2Mouse_Genes.csv.gz"
    pairs = pd.read_csv(file, header=None, names=["symbol", "mouse"], dtype=str, keep_default_na=False)
    pairs = pairs[(pairs["symbol"] != "") & (pairs["mouse"] != "")]
    pairs["human"] = canonical_genes(pairs["symbol"])
    known = known_genes(pairs["human"].to_numpy())
    return pairs.loc[known, ["mouse", "human"]].drop_duplicates()


def named_pairs(folder: Path) -> pd.DataFrame:
    """Return protein-coding human genes (id) by their symbol in mouse spelling."""
    file = folder / "resources" / "cellxgene_genes_homo_sapiens.csv.gz"
    table = pd.read_csv(file, header=None, usecols=[0, 4], names=["human", "type"], dtype=str, keep_default_na=False)
    coding = table.loc[table["type"] == "protein_coding", "human"].to_numpy()
    symbols = gene_symbols(coding)
    named = pd.DataFrame({"mouse": [str(symbol).capitalize() for symbol in symbols], "human": coding})
    # A gene without a symbol is listed by its id; a symbol of two genes maps to one of them.
    return named[(symbols != coding) & (canonical_genes(symbols) == coding)]


def one_each(pairs: pd.DataFrame, named: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each mouse gene, by its symbol: the gene of its name, else the first of its orthologs."""
    symbols = pd.Series(gene_symbols(pairs["human"].to_numpy()), index=pairs.index)
    upper = pairs["mouse"].str.upper()
    by_name = dict(zip(named["mouse"].str.upper(), named["human"], strict=True))
    # An ortholog of the same name need not be protein-coding: TRBC2.
    other = (symbols != upper).rename("other")
    human = upper.map(by_name).where(other).fillna(pairs["human"])
    sorted_pairs = pairs.assign(human=human, other=other, symbol=symbols).sort_values(
        ["other", "symbol"], kind="stable"
    )
    return pd.concat([sorted_pairs, named]).drop_duplicates("mouse").sort_values("mouse")[["mouse", "human"]]


def main(folder: Path) -> None:
    pairs, named = read_pairs(folder), named_pairs(folder)
    table = one_each(pairs, named)
    text = table.to_csv(sep="\t", index=False)
    with TARGET.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as packed:
        io.TextIOWrapper(packed, encoding="utf-8", newline="").write(text)
    several = int((pairs.groupby("mouse").size() > 1).sum())
    added = int((~table["mouse"].isin(pairs["mouse"])).sum())
    print(f"{len(pairs)} pairs of Ensembl, {several} mouse genes in several; {added} mouse symbols by name alone")
    print(
        f"{TARGET.name}: {len(table)} mouse symbols, {table['human'].nunique()} human genes, {TARGET.stat().st_size} B"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
