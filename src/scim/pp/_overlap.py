"""Whether a data set has enough of a model's genes, and what is wrong if it has not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from scim._core import GeneOverlapError, warn
from scim.pp._features import species_of_genome
from scim.pp._gene_names import Vocabulary
from scim.pp._name_places import other_places, usual_places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from scim.pp._match import GeneMap

_Sliced = TypeVar("_Sliced", pd.DataFrame, "NDArray[np.object_]")

_FEW_GENES = 20  # as many markers reach .44-.96 of the macro-F1 of all genes in three studies, ten .05-.87
_LOW_SHARE = 0.25  # of the model's genes, below which labels get visibly worse (benchmarks/NOTES.md, Quality)
_LOW_SCORE = 0.95  # share of the macro-F1 of all genes below which a panel is worth a warning
_HINT_NAMES = 200  # names that choose a hint, evenly spaced: the first of a sorted list may be clones, as 0610007P14Rik
_MOST = 0.5  # share of these that must look alike

_EXPECTED = {
    "human": "human Ensembl ids or symbols",
    "mouse": "mouse symbols",
    "mapping": "the names that species= maps to human genes",
}
_LOOKS_LIKE: dict[str, Callable[[str], bool]] = {
    "human": lambda name: name.startswith("ENSG") or name.isupper(),
    "mouse": lambda name: name[:1].isupper() and name[1:].islower(),
}
_NAME_A_COLUMN = "name a column of var that holds symbols or Ensembl ids with gene_key="
_KINDS = [
    # how names look that are no names of genes, what they are, and the remedy
    (r"([ACGTN]{8,}|.*[_:#.-][ACGTN]{12,})([_.:#-].*)?", "cell barcodes: if the genes are in rows, pass adata.T"),
    (r".*chr[\w.]+[:_.-]\d+[_.-]\d+", "peaks of chromatin: pass a matrix of genes"),
    (r"ENS[A-Z]*T\d{11}.*", "Ensembl ids of transcripts: add up the transcripts of each gene"),
    (r"ENS[A-Z]+G\d{11}.*", "Ensembl ids of another species: pass species={id: human gene name}"),
    (
        r"[NX][MR]_\d+.*",
        f"RefSeq ids of transcripts: {_NAME_A_COLUMN}",
    ),
    (
        r"[OPQ]\d[A-Z\d]{3}\d(-\d+)?",
        f"ids of proteins: {_NAME_A_COLUMN}",
    ),
    (r"[\w/]+_at", f"names of probes: {_NAME_A_COLUMN}"),
]


def refuse_transposed(adata: AnnData) -> None:
    """Raise GeneOverlapError for data whose rows have names of genes, and whose columns have none in any place."""
    if _share_known(np.asarray(adata.obs_names, dtype=object)) < _MOST:
        return
    frames = [adata.var] if adata.raw is None else [adata.var, adata.raw.var]
    for var in (frame if isinstance(frame, pd.DataFrame) else frame.to_memory() for frame in frames):
        usual = usual_places(_sample(var))
        if any(
            _share_known(texts) >= _MOST / 2 for texts in [*usual.values(), *other_places(_sample(var), usual).values()]
        ):
            return
    msg = (
        f"obs_names are genes, as {_examples(adata.obs_names)}, and var_names are not, as {_examples(adata.var_names)}"
        ": expected cells in rows and genes in columns; pass adata.T."
    )
    raise GeneOverlapError(msg)


def _share_known(names: NDArray[np.object_]) -> float:
    """Return the share of names that are human or mouse genes, by a sample."""
    sample = [str(name) for name in _sample(names)]
    return max(float(Vocabulary(species).knows(sample).mean()) if sample else 0.0 for species in ("human", "mouse"))


def check_overlap(
    matched: GeneMap, names: NDArray[np.object_], panel_curve: Mapping[str, Sequence[float]] | None
) -> None:
    """Raise an error if a data set has too few of a model's genes, and warn if it has few; `names` are as given."""
    n_genes = matched.observed.size
    share = f"{matched.n_matched} of the model's {n_genes} genes ({matched.share:.1%}) are in {matched.source}"
    hint = _hint(matched, names)
    if matched.n_matched < min(_FEW_GENES, max(1, n_genes // 10)):
        msg = (
            f"Only {share}, too few to embed. Expected {_EXPECTED[matched.species]}, got names like {_examples(names)}"
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


def _sample(names: _Sliced) -> _Sliced:
    return names[:: len(names) // _HINT_NAMES + 1]


def _examples(names: pd.Index | NDArray[np.object_]) -> list[str]:
    return [str(name) for name in names[:3]]


def _hint(matched: GeneMap, names: NDArray[np.object_]) -> str:
    """Return what the names look like and the remedy; empty if they look as expected."""
    left = [str(name) for name in _sample(names[matched.names != ""])]
    hint = _hint_of_names(left, len(names), matched.species) if left else ""
    n_left_out = sum(matched.left_out.values())
    if hint or n_left_out <= _MOST * len(names):
        return hint
    counts = ", ".join(f"{n:,} {what}" for what, n in matched.left_out.items())
    return f" ({n_left_out:,} of {len(names):,} columns are no {matched.species} genes: {counts}{_remedy(matched)})"


def _hint_of_names(names: list[str], n_names: int, species: str) -> str:
    if all(name.isdigit() for name in names):
        if max(map(int, names)) <= n_names:
            return " (row numbers: set adata.var_names, or name a column of var with gene_key=)"
        return f" (numbers, as Entrez ids, of which scim has no table: {_NAME_A_COLUMN})"
    if any(name.startswith("ENSMUSG") for name in names) and species != "mapping":
        remedy = "name the column of var that holds mouse symbols with gene_key="
        return f" (ids of mouse genes: {remedy}" + (")" if species == "mouse" else ', and pass species="mouse")')
    for pattern, what in _KINDS:
        if sum(re.fullmatch(pattern, name) is not None for name in names) > _MOST * len(names):
            return f" ({what})"
    if species == "mapping":
        return ""
    looks = max(("human", "mouse"), key=lambda kind: sum(map(_LOOKS_LIKE[kind], names)))
    if species == looks or sum(map(_LOOKS_LIKE[looks], names)) * 2 < len(names):
        return ""
    return f" (they look like {looks} genes: pass species={looks!r})"


def _remedy(matched: GeneMap) -> str:
    """Return what to do if most columns were left out."""
    species = {species_of_genome(what.removeprefix("genes of ")) for what in matched.left_out if "genes of " in what}
    other = next((name for name in ("human", "mouse") if name in species and name != matched.species), None)
    return "; correct var if they are" if other is None else f"; pass species={other!r} to read these"
