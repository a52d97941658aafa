"""Which column of the data is which gene of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scim._core.errors import GeneOverlapError
from scim._core.log import warn
from scim.pp._gene_names import canonical_genes, gene_id_kind, known_genes

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW_GENES = 50
"""Fewer genes than this do not tell cell types apart, whatever the model; the smallest marker panels have about 100."""

LOW_SHARE = 0.25
"""Below this share of the model's genes, labels get visibly worse (benchmarks/NOTES.md, Quality)."""

_NAME_COLUMNS = (
    "feature_id", "gene_ids", "gene_id", "ensembl_id", "ensembl", "feature_name", "gene_symbols", "gene_symbol",
    "gene_name", "gene_names", "symbol",
)  # fmt: skip


class GeneMap(NamedTuple):
    """How the columns of a data set meet the genes of a model."""

    names: NDArray[np.object_]
    """(n_vars,) canonical id of each column."""

    columns: NDArray[np.int32]
    """(n_vars,) position of each column among the model's genes; -1 = not one of them."""

    observed: NDArray[np.bool_]
    """(n_genes,) which of the model's genes the data measured."""

    source: str
    """Where the gene names were: `var_names` or `var['...']`."""

    kind: str
    """`"ensembl"` or `"symbol"`."""

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
    def share(self) -> float:
        """Share of the model's genes that the data measured, 0 to 1."""
        return self.n_matched / self.observed.size


def match_genes(var: pd.DataFrame, genes: NDArray[np.object_], *, gene_key: str | None = None) -> GeneMap:
    """Find the model's genes among the columns of a data set.

    Parameters
    ----------
    var
        Description of the columns, as `adata.var`: gene names in its index or one of its columns.
    genes
        Canonical ids of the model's genes (see :func:`canonical_genes`), shape (n_genes,).
    gene_key
        Column of `var` that holds the gene names. By default the index and the columns that usually hold names
        are tried, and the one that knows most genes is used.

    Raises
    ------
    KeyError
        `gene_key` is not a column of `var`.
    GeneOverlapError
        Fewer than 50 genes (or a tenth of a smaller model) are shared.
    """
    maps = [_map_names(names, genes, source) for source, names in _name_columns(var, gene_key).items()]
    best = max(maps, key=lambda candidate: candidate.n_matched)  # the first of equals: var_names
    _check_overlap(best, var, genes)
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


def _map_names(names: pd.Index, genes: NDArray[np.object_], source: str) -> GeneMap:
    nowhere = np.empty(0, dtype=np.int32)
    unmapped = GeneMap(canonical_genes(names), nowhere, nowhere.astype(np.bool_), source, gene_id_kind(names))
    return unmapped.onto(genes)


def _check_overlap(found: GeneMap, var: pd.DataFrame, genes: NDArray[np.object_]) -> None:
    share = f"{found.n_matched} of the model's {len(genes)} genes ({found.share:.1%}) are in {found.source}"
    if found.n_matched < min(FEW_GENES, max(1, len(genes) // 10)):
        examples = [str(name) for name in var.index[:3]]
        msg = (
            f"Only {share}, too few to embed. "
            f"Expected human Ensembl ids or symbols, got names like {examples}{_hint(examples)}."
        )
        raise GeneOverlapError(msg)
    if found.share < LOW_SHARE:
        warn(f"Only {share}: labels and neighbours may be less certain than with a full gene set.")


def _hint(examples: list[str]) -> str:
    if any(name.startswith("ENSMUSG") or (name[:1].isupper() and name[1:].islower()) for name in examples):
        return " (they look like mouse genes: map them to human orthologs first)"
    if all(name.isdigit() for name in examples):
        return " (row numbers: set adata.var_names, or name a column of var with gene_key=)"
    return "; if a column of var holds the gene names, pass gene_key="
