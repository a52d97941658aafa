"""From counts of any gene panel to log-normalised values of a model's genes; functions leave their input unchanged."""

from scim.pp._align import align, lognorm, lognorm_chunks, lognorm_rows
from scim.pp._counts import Counts, find_counts
from scim.pp._gene_names import canonical_genes, gene_symbols
from scim.pp._match import GeneMap, genes_of, match_genes

__all__ = [
    "Counts",
    "GeneMap",
    "align",
    "canonical_genes",
    "find_counts",
    "gene_symbols",
    "genes_of",
    "lognorm",
    "lognorm_chunks",
    "lognorm_rows",
    "match_genes",
]
