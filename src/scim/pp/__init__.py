"""From counts of any gene panel to log-normalised values of a model's genes. Nothing here changes its input."""

from scim.pp._align import Chunk, align, aligned_chunks, lognorm, lognorm_chunks, lognorm_rows
from scim.pp._counts import Counts, find_counts
from scim.pp._gene_names import canonical_genes, gene_id_kind, gene_symbols
from scim.pp._match import GeneMap, genes_of, match_genes
from scim.pp._overlap import FEW_GENES
from scim.pp._species import Species, species_name, species_token

__all__ = [
    "FEW_GENES",
    "Chunk",
    "Counts",
    "GeneMap",
    "Species",
    "align",
    "aligned_chunks",
    "canonical_genes",
    "find_counts",
    "gene_id_kind",
    "gene_symbols",
    "genes_of",
    "lognorm",
    "lognorm_chunks",
    "lognorm_rows",
    "match_genes",
    "species_name",
    "species_token",
]
