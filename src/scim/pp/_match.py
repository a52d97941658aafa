"""The genes of a model among the columns of a data set, and whether they are enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scim._core import GeneOverlapError, logger, warn
from scim.pp._gene_names import canonical_genes, gene_id_kind, known_genes
from scim.pp._species import human_names, n_unmapped, species_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from scim.pp._species import Species

_NAME_COLUMNS = (
    "feature_id", "gene_ids", "gene_id", "ensembl_id", "ensembl", "feature_name", "gene_symbols", "gene_symbol",
    "gene_name", "gene_names", "symbol",
)  # fmt: skip

_FEW_GENES = 20  # as many markers reach .44-.96 of the macro-F1 of all genes in three studies, ten .05-.87
_LOW_SHARE = 0.25  # of the model's genes, below which labels get visibly worse (benchmarks/NOTES.md, Quality)
_LOW_SCORE = 0.95  # share of the macro-F1 of all genes below which a panel is worth a warning
_HINT_NAMES = 200  # names that choose a hint, evenly spaced: the first of a sorted list may be clones, as 0610007P14Rik

_EXPECTED = {
    "human": "human Ensembl ids or symbols",
    "mouse": "mouse symbols",
    "mapping": "the names that species= maps to human genes",
}
_LOOKS_LIKE: dict[str, Callable[[str], bool]] = {
    "human": lambda name: name.startswith("ENSG") or name.isupper(),
    "mouse": lambda name: name[:1].isupper() and name[1:].islower(),
}


class GeneMap(NamedTuple):
    """The columns of a data set as genes of a model."""

    names: NDArray[np.object_]
    """(n_vars,) the model's gene of each column if there is one, else the canonical id. A gene of another species has
    the id of its human ortholog; without one, its name with a prefix: `mouse:Gm42418`, or `mapping-1f8ac10f:zgc:56493`
    with the hash of the mapping."""

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

    def onto(self, genes: NDArray[np.object_]) -> GeneMap:
        """Return the map of the same columns to another list of canonical genes."""
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
    var: pd.DataFrame,
    genes: NDArray[np.object_],
    *,
    gene_key: str | None = None,
    species: Species = "human",
    panel_curve: Mapping[str, Sequence[float]] | None = None,
) -> GeneMap:
    """Find the model's genes among the columns of a data set, and warn if they are so few that labels get worse.

    A name that the model itself uses is that gene. Other names are translated: human ones to canonical ids, those of
    other species to their human orthologs.

    Parameters
    ----------
    var
        Description of the columns, as `adata.var`: gene names in its index or one of its columns.
    genes
        Names of the model's genes, canonical ids as far as they are known (see :func:`canonical_genes`),
        shape (n_genes,).
    gene_key
        Column of `var` that holds the gene names. Default: of the index and the columns that usually hold names, the
        one with most of the model's genes.
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
    candidates = _name_columns(var, gene_key)
    maps = [_map_names(names, genes, source, species) for source, names in candidates.items()]
    best = max(maps, key=lambda candidate: candidate.n_matched)  # the first of equals: var_names
    _check_overlap(best, candidates[best.source], genes, panel_curve)
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
        Column of `var` that holds the gene names. Default: of the index and the columns that usually hold names, the
        one with most human genes.

    Raises
    ------
    KeyError
        `gene_key` is not a column of `var`.
    """
    candidates = [canonical_genes(names) for names in _name_columns(var, gene_key).values()]
    return max(candidates, key=lambda ids: int(known_genes(ids).sum()))


def _name_columns(var: pd.DataFrame, gene_key: str | None) -> dict[str, pd.Index]:
    """Return the places that may hold gene names, the likeliest first."""
    if gene_key is not None:
        if gene_key not in var:
            msg = f"gene_key={gene_key!r} is not a column of var. Present: {list(var.columns)}."
            raise KeyError(msg)
        return {f"var[{gene_key!r}]": pd.Index(var[gene_key])}
    return {"var_names": var.index} | {f"var[{c!r}]": pd.Index(var[c]) for c in _NAME_COLUMNS if c in var}


def _map_names(names: pd.Index, genes: NDArray[np.object_], source: str, species: Species) -> GeneMap:
    human = human_names(names, species)
    # A model may use a name that is translated otherwise: an old symbol, kept because another gene has its id.
    canonical = np.where(pd.Index(human).isin(genes), human, canonical_genes(human))
    none = np.empty(0, dtype=np.int32)
    unmapped = GeneMap(canonical, none, none.astype(np.bool_), source, gene_id_kind(names), species_name(species))
    return unmapped.onto(genes)


def _check_overlap(
    matched: GeneMap,
    names: pd.Index,
    genes: NDArray[np.object_],
    panel_curve: Mapping[str, Sequence[float]] | None,
) -> None:
    """Raise an error if a data set has too few of a model's genes, and warn if it has few; show the names as given."""
    share = f"{matched.n_matched} of the model's {len(genes)} genes ({matched.share:.1%}) are in {matched.source}"
    hint = _hint([str(name) for name in names[:: len(names) // _HINT_NAMES + 1]], matched.species)
    if matched.n_matched < min(_FEW_GENES, max(1, len(genes) // 10)):
        examples = [str(name) for name in names[:3]]
        msg = (
            f"Only {share}, too few to embed. Expected {_EXPECTED[matched.species]}, got names like {examples}"
            f"{hint or '; if a column of var holds the gene names, pass gene_key='}."
        )
        raise GeneOverlapError(msg)
    if panel_curve is None:
        if matched.share < _LOW_SHARE:
            warn(f"Only {share}{hint}: labels and neighbours may be less certain than with a full gene set.")
    elif (score := _panel_score(panel_curve, matched.n_matched)) < _LOW_SCORE:
        at_most = "at most " if matched.n_matched < panel_curve["n_genes"][0] else ""
        cost = f"with panels of this size {at_most}{score:.2f} of the macro-F1 of all genes was measured"
        warn(f"Only {share}{hint}: {cost}.")


def _panel_score(curve: Mapping[str, Sequence[float]], n_genes: int) -> float:
    """Return the share of the macro-F1 of all genes at a number of genes, linear in its logarithm."""
    return float(np.interp(np.log(n_genes), np.log(curve["n_genes"]), curve["macro_f1_share"]))


def _hint(names: list[str], species: str) -> str:
    """Return what the names look like and the remedy; empty if they look as expected."""
    if all(name.isdigit() for name in names):
        return " (row numbers: set adata.var_names, or name a column of var with gene_key=)"
    if species == "mapping":
        return ""
    if any(name.startswith("ENSMUSG") for name in names):
        remedy = "name the column of var that holds mouse symbols with gene_key="
        return f" (ids of mouse genes: {remedy}" + (")" if species == "mouse" else ', and pass species="mouse")')
    looks = max(("human", "mouse"), key=lambda kind: sum(map(_LOOKS_LIKE[kind], names)))
    if species == looks or sum(map(_LOOKS_LIKE[looks], names)) * 2 < len(names):
        return ""
    return f" (they look like {looks} genes: pass species={looks!r})"
