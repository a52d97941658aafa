"""Which cells are good enough to learn from, after :cite:t:`Heimberg2025`: each rule can be switched, each reports."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from scim._core.log import logger, warn
from scim.model._config import Config, check_number
from scim.pp import gene_symbols
from scim.training.data._genes import SMALL_PANEL

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from scim.io import Cells
    from scim.training.data._read import DataSet

_CANCER = re.compile(
    r"cancer|carcinoma|tumou?r|neoplasm|leuka?emia|lymphoma|melanoma|sarcoma|myeloma|blastoma|glioma|malignan|metasta",
    re.IGNORECASE,
)
"""What the name of a disease has if it is a cancer: those of the Mondo ontology do."""


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
        Column of obs, true for doublets, which are left out.
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
        for name, least in (("min_counts", 0), ("min_genes", 0), ("min_studies", 1)):
            check_number(name, getattr(self, name), whole=True, least=least)
        check_number("max_mito", self.max_mito, most=1)

    @classmethod
    def paper(cls, *, doublet_key: str | None = None, disease_key: str | None = None) -> Self:
        """Return the rules of the paper: > 1000 counts, > 500 genes, < 20 % mitochondrial, labels of two studies."""
        return cls(1001, 501, 0.2, doublet_key, disease_key, 2)

    @property
    def columns(self) -> list[str]:
        """Columns of obs that are needed."""
        return [key for key in (self.doublet_key, self.disease_key) if key is not None]


def keep_good(data: DataSet, obs: AnnData | Cells, filters: CellFilters) -> tuple[DataSet, dict[str, int]]:
    """Leave out the cells that fail, and say how many each rule left out; a cell counts for the first that it fails.

    Raises
    ------
    KeyError
        A column does not exist.
    """
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
    return (data if good.all() else data.only(good)), dropped


def _by_columns(data: DataSet, obs: pd.DataFrame, filters: CellFilters) -> dict[str, NDArray[np.bool_]]:
    for key in filters.columns:
        if key not in obs:
            msg = f"obs[{key!r}] of {data.name!r} not found, asked for by filters. Present: {list(obs.columns)}."
            raise KeyError(msg)
    fails = {}
    if filters.doublet_key is not None:
        fails["doublets"] = _is_true(obs[filters.doublet_key].iloc[data.rows])
    if filters.disease_key is not None:
        words = obs[filters.disease_key].iloc[data.rows].astype(str)
        bad = {word for word in words.unique() if _CANCER.search(word)}
        fails["cancer samples"] = words.isin(bad).to_numpy()
    return fails


def _is_true(column: pd.Series) -> NDArray[np.bool_]:
    # Booleans become words in some files; scrublet writes booleans, scDblFinder words.
    found: NDArray[np.bool_] = column.astype(str).str.lower().isin(["true", "1", "1.0", "yes", "doublet"]).to_numpy()
    return found


def _by_counts(data: DataSet, filters: CellFilters) -> dict[str, NDArray[np.bool_]]:
    if not (filters.min_counts or filters.min_genes or filters.max_mito < 1):
        return {}
    total, n_genes, mito = (np.zeros(data.n_cells) for _ in range(3))
    mitochondrial = np.char.startswith(gene_symbols(data.genes).astype(str), "MT-")
    for place, X in data.blocks(data.genes):
        total[place] = X.sum(axis=1).ravel()
        n_genes[place] = (X > 0).sum(axis=1).ravel()
        mito[place] = X[:, np.flatnonzero(mitochondrial)].sum(axis=1).ravel()
    counted = data.counts.kind == "counts"
    fails = {}
    if filters.min_counts:
        fails[f"fewer than {filters.min_counts} counts"] = (total < filters.min_counts) & counted
    if filters.min_genes:
        fails[f"fewer than {filters.min_genes} genes"] = n_genes < filters.min_genes
    if filters.max_mito < 1:
        fails[f"more than {filters.max_mito:.0%} mitochondrial"] = mito > filters.max_mito * total
    return fails
