"""The genes of a model among the columns of a data set."""

from __future__ import annotations

import re
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scim._core import logger
from scim.pp._features import left_out_types, types_by_name, without_id
from scim.pp._gene_names import Vocabulary, canonical_genes, gene_id_kind, known_genes
from scim.pp._name_places import column_of, other_places, texts_of, usual_places
from scim.pp._overlap import check_overlap
from scim.pp._repairs import repair
from scim.pp._species import human_names, n_unmapped, species_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from scim.pp._species import Species

_SAMPLE = 200  # names of any other column that show whether it holds names of genes
_LEAST_KNOWN = 0.1  # share of them that must be known
_COPY = re.compile(r"[-._]\d+$")  # AnnData's and R's ending of a name that occurs again


class GeneMap(NamedTuple):
    """The columns of a data set as genes of a model."""

    names: NDArray[np.object_]
    """(n_vars,) the model's gene of each column if there is one, else the canonical id. A gene of another species has
    the id of its human ortholog; without one, its name with a prefix: `mouse:Gm42418`, or `mapping-1f8ac10f:zgc:56493`
    with the hash of the mapping. Empty text for a column that is left out."""

    columns: NDArray[np.int32]
    """(n_vars,) position of each column among the model's genes; -1 = not one of them."""

    observed: NDArray[np.bool_]
    """(n_genes,) which of the model's genes the data measured."""

    source: str
    """Place of the gene names: `var_names` or `var['...']`."""

    kind: str
    """`"ensembl"` or `"symbol"`."""

    species: str = "human"
    """Species of the genes: `"human"`, `"mouse"`, or `"mapping"` for any other."""

    repairs: tuple[str, ...] = ()
    """How names were read that are not known as they stand: `"1,988 names read after removing the prefix GRCh38_"`."""

    left_out: Mapping[str, int] = MappingProxyType({})
    """Number of columns that are left out because they are no genes of the species, by what they are: the type in
    `var["feature_types"]`, as `"Antibody Capture"`, or what names show, as `"control probes"`."""

    def onto(self, genes: NDArray[np.object_]) -> GeneMap:
        """Return the map of the same columns to another list of canonical genes."""
        position = {gene: i for i, gene in enumerate(genes)}
        columns = np.array([position.get(name, -1) for name in self.names], dtype=np.int32)
        observed = np.zeros(len(genes), dtype=np.bool_)
        observed[columns[columns >= 0]] = True
        return self._replace(columns=columns, observed=observed)

    @property
    def n_matched(self) -> int:
        """Number of the model's genes that the data measured."""
        return int(self.observed.sum())

    @property
    def unique_names(self) -> NDArray[np.object_]:
        """Each gene of the columns once, in their order."""
        return np.asarray(pd.unique(pd.Series(self.names[self.names != ""], dtype=object)), dtype=object)

    @property
    def n_columns(self) -> int:
        """Number of columns that are genes."""
        return len(self.names) - sum(self.left_out.values())

    @property
    def n_mapped(self) -> int:
        """Number of columns that are human genes or have a human ortholog; of human data, all that are genes."""
        if self.species == "human":
            return self.n_columns
        return self.n_columns - n_unmapped(self.names, self.species)

    @property
    def share(self) -> float:
        """Share of the model's genes that the data measured, 0 to 1."""
        return self.n_matched / self.observed.size


def match_genes(
    var: pd.DataFrame,
    genes: NDArray[np.object_],
    *,
    gene_key: str | None = None,
    species: Species = "human",
    panel_curve: Mapping[str, Sequence[float]] | None = None,
) -> GeneMap:
    r"""Find the model's genes among the columns of a data set, and warn if they are so few that labels get worse.

    A name that the model itself uses is that gene. Other names are translated: human ones to canonical ids, those of
    other species to their human orthologs. Names that are not known as they stand are read without a prefix such as
    `GRCh38_`, blanks and quotes, an id beside the symbol, the punctuation of R, dates of Excel and a change of case,
    where that makes them names of one gene; `repairs` of the result has what was done.

    Columns that are no genes of the species are left out: those of another type than genes in `var["feature_types"]`
    (antibodies, guides, peaks, control probes) or of another genome in `var["genome"]`, and else those that their names
    show to be no genes; `left_out` of the result counts them. An antibody with the name of its gene is recognised if
    var has a column of Ensembl ids, and it has none.

    Parameters
    ----------
    var
        Description of the columns, as `adata.var`: gene names in its index or one of its columns.
    genes
        Names of the model's genes, canonical ids as far as they are known (see :func:`canonical_genes`),
        shape (n_genes,).
    gene_key
        Column of `var` that holds the gene names. Default: of the index and all columns of text, the one with most of
        the model's genes.
    species
        Species of the genes: `"human"`; `"mouse"`, by symbol; or for any other species a dict or Series,
        `{gene name: human gene name}`. Genes without an ortholog are left out. Each gene maps to one human gene, so
        that no count is counted twice: a mouse gene to the protein-coding human gene of the same name, else to the
        ortholog of Ensembl 105, and of several to that of the same name or the first by the alphabet. The counts of
        genes with the same ortholog, as Ins1 and Ins2, are summed (:func:`align`) before they are normalised.
    panel_curve
        What small gene panels cost, as a model may have measured it (`model.metadata["panel_curve"]`): the share of
        the macro-F1 of all genes, `"macro_f1_share"`, that panels of `"n_genes"` of its genes reached, ascending. The
        warning then states it.

    Raises
    ------
    KeyError
        `gene_key` is not a column of `var`.
    ValueError, TypeError
        `species` is neither a known species nor a mapping of names.
    GeneOverlapError
        Fewer than 20 genes (or a tenth of a smaller model) are shared.

    Examples
    --------
    >>> import pandas as pd
    >>> import scim
    >>> var = pd.DataFrame(index=["Cd3e", "Ins1", "Ins2", "Gm42418"])
    >>> genes = scim.pp.match_genes(var, scim.pp.canonical_genes(["INS", "CD3E"]), species="mouse")
    >>> genes.columns.tolist(), genes.n_mapped
    ([1, 0, 0, -1], 3)
    """
    reader = _Reader(var, species, genes)
    best = max(reader.maps(gene_key), key=lambda found: found.n_matched)  # the first of equals: var_names
    check_overlap(best, reader.places[best.source], panel_curve)
    _log(best)
    return best


def genes_of(var: pd.DataFrame, *, gene_key: str | None = None) -> NDArray[np.object_]:
    """Return the canonical gene of every column of a data set.

    Parameters
    ----------
    var
        Description of the columns, as `adata.var`.
    gene_key
        Column of `var` that holds the gene names. Default: of the index and all columns of text, the one with most
        human genes.

    Returns
    -------
    Array of str, shape (n_vars,): ids as from :func:`canonical_genes`, of names that are repaired as in
    :func:`match_genes`; empty text for columns that are no genes.

    Raises
    ------
    KeyError
        `gene_key` is not a column of `var`.
    """
    maps = _Reader(var, "human", np.empty(0, dtype=object)).maps(gene_key)
    return max((found.names for found in maps), key=lambda names: int(known_genes(names).sum()))


class _Reader:
    """Reads the names of genes in the index and the columns of var."""

    def __init__(self, var: pd.DataFrame, species: Species, genes: NDArray[np.object_]) -> None:
        self._var, self._species, self._genes = var, species, genes
        self._vocabulary = Vocabulary(species, genes)
        self._types = left_out_types(var, species_name(species))
        self._types_by_index = np.full(len(var), "", dtype=object)  # what the names in the index show
        self.places: dict[str, NDArray[np.object_]] = {}
        """Texts, (n_vars,), of the places that may hold names, the likeliest first."""

    def maps(self, gene_key: str | None) -> list[GeneMap]:
        """Return what each place says of the columns, the likeliest place first."""
        self.places = usual_places(self._var)
        if gene_key is None:
            sources = [*self.places]
            for source, texts in other_places(self._var, self.places).items():
                if self._share_known(texts[:: len(texts) // _SAMPLE + 1]) >= _LEAST_KNOWN:
                    self.places[source] = texts
                    sources.append(source)
        elif gene_key in self._var:
            sources = [f"var[{gene_key!r}]"]
            self.places[sources[0]] = texts_of(column_of(self._var, gene_key))
            self._read("var_names")
        else:
            msg = f"gene_key={gene_key!r} is not a column of var. Present: {list(self._var.columns)}."
            raise KeyError(msg)
        return [self._read(source) for source in sources]

    def _share_known(self, texts: NDArray[np.object_]) -> float:
        """Return the share of texts that are names of genes, after repairs."""
        return float(repair(texts, self._vocabulary).known.mean()) if len(texts) else 0.0

    def _read(self, source: str) -> GeneMap:
        """Return the genes by the names of one place."""
        given, types = self.places[source], self._types.copy()
        if source != "var_names":
            types = np.where(types == "", self._types_by_index, types)
        rows = np.flatnonzero(types == "")
        repaired = repair(given[rows], self._vocabulary)
        names = given.copy()
        names[rows], types[rows] = repaired.names, repaired.foreign
        rest = rows[~repaired.known & (repaired.foreign == "")]
        types[rest] = types_by_name(names[rest])
        if source == "var_names":
            self._types_by_index[rest] = types[rest]
        ids = self._ids(names)
        types[self._are_antibodies(names, ids) & (types == "")] = "antibodies (no Ensembl id)"
        ids[types != ""] = ""
        none = np.empty(0, dtype=np.int32)
        species, left_out = species_name(self._species), dict(Counter(types[types != ""].tolist()))
        kind = gene_id_kind(names[types == ""][:: len(names) // _SAMPLE + 1])
        found = GeneMap(ids, none, none.astype(np.bool_), source, kind, species, repaired.reports, left_out)
        return found.onto(self._genes)

    def _ids(self, names: NDArray[np.object_]) -> NDArray[np.object_]:
        """Return the gene of each name, (n,)."""
        human, genes = human_names(names, self._species), set(self._genes)
        # A model may use a name that is translated otherwise: an old symbol, kept because another gene has its id.
        return np.where([name in genes for name in human], human, canonical_genes(human))

    def _are_antibodies(self, names: NDArray[np.object_], ids: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Return which columns are named as a gene, which has an Ensembl id where they have none, (n_vars,)."""
        out = np.zeros(len(names), dtype=np.bool_)
        rows = np.flatnonzero(without_id(self.places.values()))
        if rows.size:
            with_id = set(np.delete(ids, rows))
            bases = self._ids(np.array([_COPY.sub("", name) for name in names[rows]], dtype=object))
            out[rows] = [gene in with_id or base in with_id for gene, base in zip(ids[rows], bases, strict=True)]
        return out


def _log(genes: GeneMap) -> None:
    if genes.repairs:
        logger.info("genes: %s", "; ".join(genes.repairs))
    if genes.left_out:
        counts = ", ".join(f"{n:,} {what}" for what, n in genes.left_out.items())
        logger.info("genes: %d of %d columns are left out: %s", sum(genes.left_out.values()), len(genes.names), counts)
    if genes.species != "human":
        share = genes.n_mapped / max(1, genes.n_columns)
        logger.info("%d of %d genes (%.1f%%) have a human ortholog", genes.n_mapped, genes.n_columns, 100 * share)
