"""Rules for the cells that train, after :cite:t:`Heimberg2025`, and coarsening of labels that few studies share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from scim import ontology
from scim._core import logger, warn
from scim._core.booleans import read_booleans
from scim.model._config import Config
from scim.pp import gene_symbols
from scim.training.data._genes import SMALL_PANEL

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scim.io.cells import Cells
    from scim.training.data._data_set import DataSet

_CANCER = re.compile(  # parts of the names of cancers in the Mondo ontology
    r"cancer|carcinoma|tumou?r|neoplasm|leuka?emia|lymphoma|melanoma|sarcoma|myeloma|blastoma|glioma|malignan|metasta",
    re.IGNORECASE,
)
_UNSPECIFIC = {  # terms that are no label: they cover T cells and neurons alike
    "CL:0000000",  # cell
    "CL:0000255",  # eukaryotic cell
    "CL:0002242",  # nucleate cell
    "CL:0000226",  # single nucleate cell
    "CL:0000225",  # anucleate cell
    "CL:0000219",  # motile cell
}


_DOUBLET = ("doublet", "doublets", "multiplet", "dbl")
_SINGLET = ("singlet", "singlets", "sng", "negative", "unassigned", "ambiguous", "amb")
"""Words of scDblFinder, DoubletFinder, Solo, demuxlet and hashing; a cell that they do not decide on is no doublet."""


@dataclass(frozen=True)
class CellFilters(Config):
    """Which cells train. Nothing is filtered by default: most data have been, and old chemistries have few counts.

    :meth:`paper` gives the rules of :cite:t:`Heimberg2025`.

    Attributes
    ----------
    min_counts, min_genes
        A cell with fewer counts, or counts in fewer genes, is left out. Values that were log-normalised have no
        counts: `min_counts` leaves such data alone.
    max_mito
        A cell with a larger share of its counts in mitochondrial genes (`MT-`) is left out, 0 to 1.
    doublet_key
        Column of obs, true for doublets, which are left out; or with words, as "doublet" and "singlet".
    disease_key
        Column of obs with names of diseases; cells of cancer samples are left out.
    min_studies
        A label that fewer studies have, it or labels below it in the Cell Ontology, becomes the nearest term above it
        that has so many studies at or below it, and cells without such a term are left out.
    """

    min_counts: int = 0
    min_genes: int = 0
    max_mito: float = 1.0
    doublet_key: str | None = None
    disease_key: str | None = None
    min_studies: int = 1

    def __post_init__(self) -> None:
        self._check_numbers("min_counts", "min_genes", whole=True)
        self._check_numbers("min_studies", whole=True, least=1)
        self._check_numbers("max_mito", most=1)

    @classmethod
    def paper(cls, *, doublet_key: str | None = None, disease_key: str | None = None) -> Self:
        """Return the rules of the paper: > 1000 counts, > 500 genes, < 20 % mitochondrial, labels of two studies."""
        return cls(1001, 501, 0.2, doublet_key, disease_key, 2)

    @property
    def columns(self) -> list[str]:
        """Columns of obs that are needed."""
        return [key for key in (self.doublet_key, self.disease_key) if key is not None]


def keep_good(data: DataSet, obs: AnnData | Cells, filters: CellFilters) -> tuple[DataSet, dict[str, int]]:
    """Return the cells that pass, and how many each rule left out; a cell counts for the first rule that it fails."""
    fails = _by_columns(data, obs.obs, filters) | _by_counts(data, filters)
    good, dropped = np.ones(data.n_cells, dtype=np.bool_), {}
    for rule, failed in fails.items():
        dropped[rule] = int((good & failed).sum())
        good &= ~failed
        if dropped[rule]:
            logger.info("%s: %d of %d cells left out: %s", data.name, dropped[rule], data.n_cells, rule)
    if data.n_cells and not good.any():
        why = ", ".join(f"{rule}: {n}" for rule, n in dropped.items() if n)
        msg = f"{data.name}: none of {data.n_cells} cells passes the filters ({why}), so that it does not train."
        if "fewer than" in why and len(data.genes) < SMALL_PANEL:
            msg += f" It measured {len(data.genes)} genes: for a panel, set min_counts and min_genes lower."
        warn(msg)
    return (data if good.all() else data.select(good)), dropped


def _by_columns(data: DataSet, obs: pd.DataFrame, filters: CellFilters) -> dict[str, NDArray[np.bool_]]:
    for key in filters.columns:
        if key not in obs:
            msg = f"obs[{key!r}] of {data.name!r} not found, needed by filters. Present: {list(obs.columns)}."
            raise KeyError(msg)
    fails: dict[str, NDArray[np.bool_]] = {}
    if filters.doublet_key is not None:
        fails["doublets"] = _are_doublets(obs[filters.doublet_key].iloc[data.rows], data.name)
    if filters.disease_key is not None:
        diseases = obs[filters.disease_key].iloc[data.rows].astype(str)
        cancers = {disease for disease in diseases.unique() if _CANCER.search(str(disease))}
        fails["cancer samples"] = diseases.isin(cancers).to_numpy()
    return fails


def _are_doublets(column: pd.Series[Any], name: str) -> NDArray[np.bool_]:
    """Return which cells are doublets; missing values are none. Tools write booleans, or words, as scDblFinder does."""
    found = read_booleans(column, true=_DOUBLET, false=_SINGLET)
    if found is None:
        examples = column.dropna().unique()[:3].tolist()
        msg = f"obs[{column.name!r}] of {name!r} must be true or false, or 'doublet' or 'singlet', got {examples}."
        raise ValueError(msg)
    return found.to_numpy(dtype=np.bool_, na_value=False)


def _by_counts(data: DataSet, filters: CellFilters) -> dict[str, NDArray[np.bool_]]:
    if not (filters.min_counts or filters.min_genes or filters.max_mito < 1):
        return {}
    total, n_genes, mito = (np.zeros(data.n_cells) for _ in range(3))
    mitochondrial = np.char.startswith(gene_symbols(data.genes).astype(str), "MT-")
    for rows, X in data.blocks(data.genes):
        total[rows] = X.sum(axis=1).ravel()
        n_genes[rows] = (X > 0).sum(axis=1).ravel()
        mito[rows] = X[:, np.flatnonzero(mitochondrial)].sum(axis=1).ravel()
    counted = data.counts.kind == "counts"
    fails = {}
    if filters.min_counts:
        fails[f"fewer than {filters.min_counts} counts"] = (total < filters.min_counts) & counted
    if filters.min_genes:
        fails[f"fewer than {filters.min_genes} genes"] = n_genes < filters.min_genes
    if filters.max_mito < 1:
        fails[f"more than {filters.max_mito:.0%} mitochondrial"] = mito > filters.max_mito * total
    return fails


def coarsen(labels: NDArray[np.object_], studies: NDArray[np.object_], min_studies: int) -> dict[str, str | None]:
    """Return the id of a coarser label for every label of fewer than `min_studies` studies; `None` where there is none.

    It is the nearest ancestor with at least so many studies at or below it; of several the one with most cells. A term
    occurs in a study if any descendant does, so that two rare siblings become their parent, and a rare child a rare
    parent, which stays as it is.
    """
    counts = pd.DataFrame({"label": labels, "study": studies}).value_counts().reset_index(name="n")
    counts["key"] = counts["label"].map({label: ontology.term_id(label) or label for label in counts["label"].unique()})
    n_studies = counts.groupby("key")["study"].nunique()
    rare = counts[counts["key"].map(n_studies < min_studies)]
    levels = counts.assign(term=counts["key"].map(_with_ancestors)).explode("term")
    support = levels.groupby("term").agg(studies=("study", "nunique"), cells=("n", "sum"))
    enough = support[support["studies"] >= min_studies]
    viable = {str(term): int(n) for term, n in enough["cells"].items()}
    pairs = rare[["label", "key"]].drop_duplicates().to_numpy()
    moves = {label: _nearest(key, viable) for label, key in pairs if key not in viable}
    for label, term in sorted(moves.items()):
        n = int(counts.loc[counts["label"] == label, "n"].sum())
        became = "left out" if term is None else f"labelled {ontology.term_name(term)}"
        logger.info("%s: %d cells in fewer than %d studies, %s", label, n, min_studies, became)
    return moves


def _with_ancestors(key: str) -> list[str]:
    """Return a term and its ancestors; a label outside the ontology alone."""
    return [key, *ontology.ancestors(key)] if ontology.term_id(key) == key else [key]


def _nearest(key: str, viable: dict[str, int]) -> str | None:
    """Return the viable ancestor with fewest terms between, then with most cells."""
    ancestors = [term for term in _with_ancestors(key)[1:] if term in viable and term not in _UNSPECIFIC]
    depth = {term: len(ontology.ancestors(term)) for term in ancestors}  # the deeper one has more ancestors
    return max(ancestors, key=lambda term: (depth[term], viable[term], term), default=None)
