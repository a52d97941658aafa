"""Which column of the data is which gene of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scim._core.log import logger
from scim.pp._gene_names import canonical_genes, gene_id_kind, known_genes
from scim.pp._overlap import check_overlap
from scim.pp._species import human_names, n_unmapped, species_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.pp._species import Species

_NAME_COLUMNS = (
    "feature_id", "gene_ids", "gene_id", "ensembl_id", "ensembl", "feature_name", "gene_symbols", "gene_symbol",
    "gene_name", "gene_names", "symbol",
)  # fmt: skip


class GeneMap(NamedTuple):
    """How the columns of a data set meet the genes of a model."""

    names: NDArray[np.object_]
    """(n_vars,) name of each column: that of the model's gene where it is one, else the canonical id. A gene of another
    species has those of its human ortholog, or its own behind the name of the species, as `mouse:Gm42418`, or behind
    that of the mapping, as `mapping-1f8ac10f:zgc:56493`, which other mappings do not share."""

    columns: NDArray[np.int32]
    """(n_vars,) position of each column among the model's genes; -1 = not one of them."""

    observed: NDArray[np.bool_]
    """(n_genes,) which of the model's genes the data measured."""

    source: str
    """Where the gene names were: `var_names` or `var['...']`."""

    kind: str
    """`"ensembl"` or `"symbol"`."""

    species: str = "human"
    """Whose genes they are: `"human"`, `"mouse"`, or `"mapping"` for any other."""

    def onto(self, genes: NDArray[np.object_]) -> GeneMap:
        """Return how the same columns meet another list of canonical genes."""
        columns = pd.Index(genes).get_indexer(pd.Index(self.names)).astype(np.int32)
        observed = np.zeros(len(genes), dtype=np.bool_)
        observed[columns[columns >= 0]] = True
        return self._replace(columns=columns, observed=observed)

    @property
    def n_matched(self) -> int:
        """Number of the model's genes that the data measured."""
        return int(self.observed.sum())

    @property
    def n_mapped(self) -> int:
        """Number of columns that are human genes or have a human ortholog; of human data, all."""
        if self.species == "human":
            return len(self.names)
        return len(self.names) - n_unmapped(self.names, self.species)

    @property
    def share(self) -> float:
        """Share of the model's genes that the data measured, 0 to 1."""
        return self.n_matched / self.observed.size


def match_genes(
    var: pd.DataFrame, genes: NDArray[np.object_], *, gene_key: str | None = None, species: Species = "human"
) -> GeneMap:
    """Find the model's genes among the columns of a data set.

    A name by which the model itself calls a gene is that gene. Other names are translated: human ones to canonical
    ids, those of other species to their human orthologs.

    Parameters
    ----------
    var
        Description of the columns, as `adata.var`: gene names in its index or one of its columns.
    genes
        Names of the model's genes, canonical ids as far as they are known (see :func:`canonical_genes`),
        shape (n_genes,).
    gene_key
        Column of `var` that holds the gene names. By default the index and the columns that usually hold names
        are tried, and the one that knows most genes is used.
    species
        Whose genes they are: `"human"`; `"mouse"`, by symbol; or for any other species a dict or Series,
        `{gene name: human gene name}`. Genes without an ortholog are left out. A gene is one human gene, so that no
        count is counted twice: a mouse gene is the human gene of the same name that codes for a protein, else the
        ortholog of Ensembl 105, and of several that of the same name or the first by the alphabet. Genes with the same
        ortholog, as Ins1 and Ins2, are one: their counts are summed (:func:`align`), before they are normalised.

    Raises
    ------
    KeyError
        `gene_key` is not a column of `var`.
    ValueError, TypeError
        `species` is no species that is known, and no mapping of names.
    GeneOverlapError
        Fewer than 50 genes (or a tenth of a smaller model) are shared.

    Examples
    --------
    >>> import pandas as pd
    >>> import scim
    >>> var = pd.DataFrame(index=["Cd3e", "Ins1", "Ins2", "Gm42418"])
    >>> found = scim.pp.match_genes(var, scim.pp.canonical_genes(["INS", "CD3E"]), species="mouse")
    >>> found.columns.tolist(), found.n_mapped
    ([1, 0, 0, -1], 3)
    """
    candidates = _name_columns(var, gene_key)
    maps = [_map_names(names, genes, source, species) for source, names in candidates.items()]
    best = max(maps, key=lambda candidate: candidate.n_matched)  # the first of equals: var_names
    check_overlap(best, candidates[best.source], genes)
    if best.species != "human":
        share = best.n_mapped / len(best.names)
        logger.info("%d of %d genes (%.1f%%) have a human ortholog", best.n_mapped, len(best.names), 100 * share)
    return best


def genes_of(var: pd.DataFrame, *, gene_key: str | None = None) -> NDArray[np.object_]:
    """Return the canonical gene of every column of a data set.

    Parameters
    ----------
    var
        Description of the columns, as `adata.var`.
    gene_key
        Column of `var` that holds the gene names. By default the index and the columns that usually hold names are
        tried, and the one with most human genes is used.

    Raises
    ------
    KeyError
        `gene_key` is not a column of `var`.
    """
    candidates = [canonical_genes(names) for names in _name_columns(var, gene_key).values()]
    return max(candidates, key=lambda ids: int(known_genes(ids).sum()))


def _name_columns(var: pd.DataFrame, gene_key: str | None) -> dict[str, pd.Index]:
    """Return where gene names may be, the likeliest place first."""
    if gene_key is not None:
        if gene_key not in var:
            msg = f"gene_key={gene_key!r} is not a column of var. Present: {list(var.columns)}."
            raise KeyError(msg)
        return {f"var[{gene_key!r}]": pd.Index(var[gene_key])}
    return {"var_names": var.index} | {f"var[{c!r}]": pd.Index(var[c]) for c in _NAME_COLUMNS if c in var}


def _map_names(names: pd.Index, genes: NDArray[np.object_], source: str, species: Species) -> GeneMap:
    human = human_names(names, species)
    # A model may call a gene by a name that is translated otherwise: an old symbol, kept because another has its id.
    known = np.where(pd.Index(human).isin(genes), human, canonical_genes(human))
    nowhere = np.empty(0, dtype=np.int32)
    unmapped = GeneMap(known, nowhere, nowhere.astype(np.bool_), source, gene_id_kind(names), species_name(species))
    return unmapped.onto(genes)
