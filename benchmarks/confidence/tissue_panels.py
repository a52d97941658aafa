"""Make gene panels of the queries: markers of the tissue, random genes, and a spatial panel with few counts.

Panels are chosen from published lists of markers, `resources/markers_human_cl.csv.gz`, never from the studies.
"""

from __future__ import annotations

import functools
import zlib
from typing import TYPE_CHECKING

import data
import numpy as np
import pandas as pd
import tissue_cases
from scipy import sparse

import scim

if TYPE_CHECKING:
    from collections.abc import Iterable

    import anndata as ad

WHOLE, RANDOM = "whole", "genes 1000"
VARIANTS = (WHOLE, RANDOM, "markers", "markers as reads", "spatial")
RESOURCES = data.FOLDER / "resources"

BLOOD = (*data.COMMON, "CL:0000895", "CL:0000904", "CL:0000900", "CL:0000815", "CL:0000787", "CL:0000788",
         "CL:0000786", "CL:0000784", "CL:0000934")  # fmt: skip
"""Also naive and memory T and B cells, regulatory and cytotoxic T cells, plasma cells and plasmacytoid DC."""
PANCREAS = ("CL:0002064", "CL:0002079", "CL:0000171", "CL:0000169", "CL:0000173", "CL:0002275", "CL:0005019",
            "CL:0002410", "CL:0000115", "CL:0000235", "CL:0000097", "CL:0000084", "CL:0002573")  # fmt: skip
"""Acinar, ductal, alpha, beta, delta, PP, epsilon and stellate cells, and those of other tissues in it."""
SPATIAL = (*data.COMMON, *PANCREAS, "CL:0000786", "CL:0000775", "CL:0000057", "CL:0000669", "CL:0000192", "CL:0002138",
           "CL:0000584", "CL:0000160", "CL:0000510", "CL:0002204", "CL:0000164", "CL:0000746", "CL:0000127",
           "CL:0000128", "CL:0000129", "CL:0002453", "CL:0000679", "CL:0000617", "CL:0000182", "CL:0002326",
           "CL:0000066")  # fmt: skip
"""Types of ten tissues."""

N_MARKERS, N_SPATIAL = 225, 300
SPATIAL_COUNTS = (100, 300)
"""Least and most counts of a cell on the spatial panel."""
MOST_SUMMED = 10


def of_query(query: str, variants: Iterable[str]) -> list[str]:
    """Return the variants of a query; studies that measured 1,000 to 2,000 genes of other tissues have no panels."""
    panels = {WHOLE, *(VARIANTS if query in data.TESTS else ["spatial"] if query in tissue_cases.IMMUNE else [])}
    return [name for name in variants if name in panels]


def variant(cells: tissue_cases.Cells, query: str, name: str) -> ad.AnnData:
    """Return a variant of a query; random numbers depend on its names alone."""
    adata = tissue_cases.query(cells, query)
    random = np.random.default_rng(zlib.crc32(f"{query} {name}".encode()))
    if name == RANDOM:
        return data.variant(adata, name, seed=0)
    if name == "spatial":
        return few_counts(_with_genes(adata, _measured(adata, _ranked_markers(SPATIAL))[:N_SPATIAL]), random)
    if name.startswith("markers"):
        terms = PANCREAS if query in tissue_cases.BARON else BLOOD
        chosen = _with_genes(adata, _measured(adata, _ranked_markers(terms))[:N_MARKERS])
        return as_reads(chosen, random) if name.endswith("reads") else chosen
    return adata


@functools.cache
def _ranked_markers(terms: tuple[str, ...]) -> list[str]:
    """Return markers as canonical genes: the one named most often for each type in turn, then the second, and so on."""
    table = pd.read_csv(RESOURCES / "markers_human_cl.csv.gz")
    table = table[table["marker_type"] == "positive"]
    ranked = []
    for term in terms:
        of_type = table["marker"][table["CL_ID"].isin({term} | scim.ontology.descendants(term))]
        sizes = of_type.value_counts().rename_axis("marker").reset_index(name="n")
        ranked.append(sizes.sort_values(["n", "marker"], ascending=[False, True])["marker"].tolist())
    turns = [genes[place] for place in range(N_SPATIAL) for genes in ranked if place < len(genes)]
    return list(dict.fromkeys(scim.pp.canonical_genes(turns)))


def _measured(adata: ad.AnnData, genes: list[str]) -> list[str]:
    found = set(scim.pp.canonical_genes(scim.pp.find_counts(adata).var.index))
    return [gene for gene in genes if gene in found]


def _with_genes(adata: ad.AnnData, genes: list[str]) -> ad.AnnData:
    """Return the columns of these genes; a gene that has several has all of them."""
    return adata[:, np.isin(scim.pp.canonical_genes(adata.var_names), genes)].copy()


def few_counts(adata: ad.AnnData, random: np.random.Generator) -> ad.AnnData:
    """Give each cell 100 to 300 counts: by adding cells of its label, then by drawing some of the counts.

    A spatial platform counts more transcripts of each gene than the single cells do, so few cells have enough alone.
    """
    X, depth = sparse.csr_matrix(adata.X), random.uniform(*SPATIAL_COUNTS, size=adata.n_obs)
    total, rows = X.copy(), np.arange(adata.n_obs)
    labels = adata.obs["label"].astype(object).fillna("").to_numpy()
    groups = [rows[labels == label] for label in np.unique(labels) if label]
    for _ in range(MOST_SUMMED - 1):
        other = rows.copy()
        for group in groups:
            other[group] = random.permutation(group)
        short = np.asarray(total.sum(axis=1)).ravel() < depth
        total = (total + sparse.diags_array((short & (other != rows)).astype(np.float32)) @ X[other]).tocsr()
    counts = np.round(total.data).astype(np.int64)
    share = np.minimum(depth / np.maximum(np.asarray(total.sum(axis=1)).ravel(), 1), 1)
    kept = random.binomial(counts, np.repeat(share, np.diff(total.indptr))).astype(np.float32)
    adata.X = sparse.csr_matrix((kept, total.indices, total.indptr), shape=X.shape)
    adata.X.eliminate_zeros()
    return adata


def as_reads(adata: ad.AnnData, random: np.random.Generator) -> ad.AnnData:
    """Simulate reads of whole transcripts: in proportion to gene length, with a factor of each gene and of each count.

    Factors are log-normal with a deviation of .5: platforms differ so much in single genes, and PCR multiplies.
    """
    lengths = pd.read_csv(RESOURCES / "cellxgene_genes_homo_sapiens.csv.gz", header=None)
    known = pd.Series(lengths[3].to_numpy(), index=lengths[0].to_numpy())
    length = known.reindex(scim.pp.canonical_genes(adata.var_names)).fillna(known.median()).to_numpy(dtype=float)
    factor = length / 100 * random.lognormal(0, 0.5, adata.n_vars)
    X = sparse.csr_matrix(adata.X)
    reads = np.round(X.data * factor[X.indices] * random.lognormal(0, 0.5, X.data.size))
    adata.X = sparse.csr_matrix((reads.astype(np.float32), X.indices, X.indptr), shape=X.shape)
    adata.X.eliminate_zeros()
    return adata
