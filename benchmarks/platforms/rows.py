"""Define the rows of the table of platforms: which studies are queries, and what is simulated.

Three models and atlases, each without all of its queries and everything else of their studies.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(BENCHMARKS / name) for name in ("confidence", "quality", "state")]
sys.path.append(str(BENCHMARKS.parent / "scripts"))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import tissue_cases  # noqa: E402  (found by the paths above)
import tissue_panels  # noqa: E402

import scim  # noqa: E402

if TYPE_CHECKING:
    from anndata import AnnData
    from tissue_cases import Cells

HEART, COLUMN = tissue_cases.TISSUE_FILES["heart"], "study"
tissue_cases.QUERIES |= {
    name: tissue_cases.Query(name, HEART, name, (COLUMN, study))
    for name, study in {"koenig": "Koenig 2022", "litvinukova": "Litvinukova 2020"}.items()
}
CASES = (
    tissue_cases.Case("split", ("pbmc3k", "onek1k", "baron_human3", "kong", "he", "wu")),
    tissue_cases.Case("nuclei", ("tran", "koenig", "kim", "2chem_3prime", "2chem_5prime")),
    tissue_cases.Case("full length", ("allen", "litvinukova", "zheng_facs", "zheng_sorted")),
)
"""`split` leaves out what benchmarks/state/cells.py holds out, so its model is the same."""

WHOLE, FLEX, PANEL, READS = "whole", "protein-coding genes", "spatial", "reads"


class Row(NamedTuple):
    """Queries of one platform, and how they are changed."""

    platform: str
    queries: tuple[str, ...]
    dress: str = WHOLE


ROWS = (
    Row("10x 3' v1", ("pbmc3k", "zheng_facs", "zheng_sorted")),
    Row("10x 3' v2", ("wu", "kim")),
    Row("10x 3' v2, 1,000 genes", ("onek1k",)),
    Row("10x 3' v3", ("2chem_3prime",)),
    Row("10x 5'", ("2chem_5prime",)),
    Row("10x, chemistry not stated", ("kong", "he")),
    Row("inDrop", ("baron_human3",)),
    Row("10x 3' v2 and v3, nuclei, 1,589 genes", ("litvinukova",)),
    Row("10x 5' v2, nuclei, 1,589 genes", ("koenig",)),
    Row("10x 3' v3, nuclei, 1,000 genes", ("tran",)),
    Row("SMART-seq v4, nuclei, 2,022 genes", ("allen",)),
    Row("pbmc3k, He and Baron as measured: compare with the next", ("pbmc3k", "he", "baron_human3")),
    Row("simulated: Flex-like, protein-coding genes", ("pbmc3k", "he", "baron_human3"), FLEX),
    Row("simulated: spatial panel, 300 genes, 100-300 counts", ("pbmc3k", "he", "baron_human3"), PANEL),
    Row("simulated: reads of full-length transcripts", ("pbmc3k", "he", "baron_human3"), READS),
)
NOT_MEASURED = ("Flex", "Drop-seq", "SMART-seq2", "C1", "Microwell-seq of human cells")
"""Platforms of which no file at hand has labelled human cells."""


def dressed(cells: Cells, query: str, dress: str) -> AnnData:
    """Return the cells of a query, changed as another platform might have measured them."""
    if dress in tissue_panels.VARIANTS:
        return tissue_panels.variant(cells, query, dress)
    adata = tissue_cases.query(cells, query)
    if dress == READS:
        return tissue_panels.as_reads(adata, np.random.default_rng(zlib.crc32(f"{query} {dress}".encode())))
    genes = pd.read_csv(tissue_panels.RESOURCES / "cellxgene_genes_homo_sapiens.csv.gz", header=None)
    coding = set(scim.pp.canonical_genes(genes[0][genes[4] == "protein_coding"]))
    return adata[:, [gene in coding for gene in scim.pp.canonical_genes(adata.var_names)]].copy()
