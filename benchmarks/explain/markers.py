"""Read known markers of the cell types of a study, and measure how early a ranking of genes ranks them.

The rules, fixed before any ranking was computed:

- A row of the table of markers counts for a cell type if it is positive, names the type or a descendant in the Cell
  Ontology, and is of the study's tissue.
- A gene is a marker of the type if rows of at least two resources name it.
- A type is scored if at least ten cells of the study have it and at least five of its markers are among the genes of
  the model that the study measured.
- The other genes are the background. Stricter: only genes that at least 5 % of the cells of some type, or of
  the type itself, express; markers that they do not express are then left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

import scim

if TYPE_CHECKING:
    from pathlib import Path

LEAST_CELLS, LEAST_MARKERS, LEAST_RESOURCES, LEAST_SHARE = 10, 5, 2, 0.05


def read_markers(folder: Path) -> pd.DataFrame:
    """Read the positive markers, with the canonical ids of their genes."""
    table = pd.read_csv(folder / "resources" / "markers_human_cl.csv.gz")
    table = table[table["marker_type"] == "positive"].copy()
    table["gene_id"] = scim.pp.canonical_genes(table["marker"])
    return table


def markers_of(
    table: pd.DataFrame, term: str, tissue: str | None, *, resources: int = LEAST_RESOURCES, below: bool = True
) -> set[str]:
    """Return the genes that enough resources name for a type (and its descendants), in a tissue or in any."""
    family = {term} | (set(scim.ontology.descendants(term)) if below else set())
    rows = table[table["CL_ID"].isin(family)]
    if tissue is not None:
        rows = rows[of_tissue(rows["Uberon_tissue"], tissue)]
    named = rows.groupby("gene_id")["resource"].nunique()
    return set(named.index[named >= resources])


def of_tissue(names: pd.Series, tissue: str) -> pd.Series:
    """Return which tissues are blood, or the pancreas or a part of it."""
    return names.isin(["blood", "venous blood"]) if tissue == "blood" else names.str.contains("pancrea")


def auroc(scores: np.ndarray, positive: np.ndarray, background: np.ndarray) -> float:
    """Return the probability that a marker has a higher score than another gene; ties count half."""
    if positive[background].sum() < LEAST_MARKERS:
        return np.nan
    return float(roc_auc_score(positive[background], scores[background]))
