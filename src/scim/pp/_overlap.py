"""Whether a data set has enough of a model's genes, and what may be wrong with its names if not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scim._core.errors import GeneOverlapError
from scim._core.log import warn

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from scim.pp._match import GeneMap

FEW_GENES = 50
"""Fewer genes than this do not tell cell types apart, whatever the model; the smallest marker panels have about 100."""

LOW_SHARE = 0.25
"""Below this share of the model's genes, labels get visibly worse (benchmarks/NOTES.md, Quality)."""

_NAMES_LOOKED_AT = 200
"""Names by which a hint is chosen, from all over: the first of a sorted list may be clones, as 0610007P14Rik."""

_EXPECTED = {
    "human": "human Ensembl ids or symbols",
    "mouse": "mouse symbols",
    "mapping": "the names that species= maps to human genes",
}

_LOOKS: dict[str, Callable[[str], bool]] = {
    "human": lambda name: name.startswith("ENSG") or name.isupper(),
    "mouse": lambda name: name[:1].isupper() and name[1:].islower(),
}


def check_overlap(found: GeneMap, names: pd.Index, genes: NDArray[np.object_]) -> None:
    """Refuse a data set that has too few of a model's genes, and warn of one that has few.

    Parameters
    ----------
    found
        How its columns meet the genes of the model.
    names
        The names of the columns as they came, for the message.
    genes
        Names of the model's genes.

    Raises
    ------
    GeneOverlapError
        Fewer than 50 genes (or a tenth of a smaller model) are shared.
    """
    share = f"{found.n_matched} of the model's {len(genes)} genes ({found.share:.1%}) are in {found.source}"
    hint = _hint([str(name) for name in names[:: len(names) // _NAMES_LOOKED_AT + 1]], found.species)
    if found.n_matched < min(FEW_GENES, max(1, len(genes) // 10)):
        examples = [str(name) for name in names[:3]]
        msg = (
            f"Only {share}, too few to embed. Expected {_EXPECTED[found.species]}, got names like {examples}"
            f"{hint or '; if a column of var holds the gene names, pass gene_key='}."
        )
        raise GeneOverlapError(msg)
    if found.share < LOW_SHARE:
        warn(f"Only {share}{hint}: labels and neighbours may be less certain than with a full gene set.")


def _hint(names: list[str], species: str) -> str:
    """Say what the names look like and what to do about it; empty if they look like what was expected."""
    if all(name.isdigit() for name in names):
        return " (row numbers: set adata.var_names, or name a column of var with gene_key=)"
    if species == "mapping":
        return ""
    if any(name.startswith("ENSMUSG") for name in names):
        remedy = "name the column of var that holds mouse symbols with gene_key="
        return f" (ids of mouse genes: {remedy}" + (")" if species == "mouse" else ', and pass species="mouse")')
    looks = max(("human", "mouse"), key=lambda kind: sum(map(_LOOKS[kind], names)))
    if species == looks or sum(map(_LOOKS[looks], names)) * 2 < len(names):
        return ""
    return f" (they look like {looks} genes: pass species={looks!r})"
