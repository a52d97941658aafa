"""Define what is integrated: the evaluated cells, and the reference that retrained methods may learn from.

A method without retraining embeds each study with all of its genes. The others read the counts of the genes that all
studies of a set share. `label` is the Cell Ontology term at the common level of benchmarks/quality.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1] / "state"))
import anndata as ad
import cells as split  # of benchmarks/state; adds the folders of the next modules to the path
import handover
import numpy as np
import pandas as pd
import tissue_cases

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tissue_cases import Cells

MOST_CELLS = 1500
"""Cells of a study that are evaluated, drawn at random: no study outweighs the others, and all can be trained on."""
LEAST_CELLS = 10
"""Labels with fewer cells in the set are left out: 15 neighbours cannot be like them."""
LEAST_GENES = 3000
"""Studies with fewer genes share too few with the others."""
UNKNOWN = "unknown"


class Evaluated(NamedTuple):
    """Studies that are integrated; the study is the batch."""

    studies: tuple[str, ...]
    known: str
    """Column of the labels that the reference may use; none, if it has not all of these studies."""
    alone: bool = True
    """Whether scVI, and scANVI with all labels, are trained on these studies alone; else on the reference."""


SETS = {
    "blood": Evaluated(("pbmc3k", "onek1k"), ""),
    "pancreas": Evaluated(("baron human2", "baron human3", "baron human4"), "known without pancreas"),
    "tissues": Evaluated(("pbmc3k", "baron human3", "Kong 2023", "He 2020", "Wu 2021"), "known", alone=False),
}
"""Models see none of these in training, except where a row says so. onek1k, of 1,000 genes, is in `blood` only."""


def evaluated(cells: Cells, name: str) -> ad.AnnData:
    """Return the labelled cells of a set: counts of the shared genes; obs has `study` and `label`."""
    adata = _together(cells, SETS[name].studies)
    adata = adata[(adata.obs["label"] != UNKNOWN).to_numpy() & _drawn(adata.obs["study"])]
    sizes = adata.obs["label"].value_counts()
    return adata[adata.obs["label"].isin(sizes.index[sizes >= LEAST_CELLS])].copy()


def reference(cells: Cells) -> ad.AnnData:
    """Return the cells of all studies with whole transcriptomes, labelled or not.

    obs has `study`, `fine` (the labels as they are), and the columns `known`.
    """
    files = [file for file in cells if file not in tissue_cases.QUERY_ONLY]
    files = [file for file in files if len(handover.measured(cells[file])) >= LEAST_GENES]
    adata = _together(cells, {study for file in files for study in cells[file].obs["study"]})
    fine = adata.obs["fine"]
    adata.obs["known"] = fine.where(~adata.obs["study"].isin(split.HELD_OUT), UNKNOWN)
    pancreas = adata.obs["study"].isin(SETS["pancreas"].studies)
    adata.obs["known without pancreas"] = adata.obs["known"].where(~pancreas, UNKNOWN)
    return adata


def whole_files(cells: Cells, studies: Iterable[str]) -> Cells:
    """Return the cells of the studies by file, with all genes of the file."""
    kept = {file: adata[adata.obs["study"].isin(studies)] for file, adata in cells.items()}
    return {file: adata.copy() for file, adata in kept.items() if adata.n_obs}


def _together(cells: Cells, studies: Iterable[str]) -> ad.AnnData:
    """Return all cells of the studies with their shared genes."""
    files = list(whole_files(cells, studies).values())
    genes = sorted(set.intersection(*(handover.measured(adata) for adata in files)))
    parts = []
    for adata in files:
        part = handover.aligned(adata, genes)
        labels = {"label": adata.obs["common"], "fine": adata.obs["label"]}
        part.obs = (
            adata.obs[["study"]]
            .astype(str)
            .assign(**{key: words.astype(object).fillna(UNKNOWN).to_numpy() for key, words in labels.items()})
        )
        parts.append(part)
    return ad.concat(parts)


def _drawn(study: pd.Series) -> np.ndarray:
    """Return a mask of at most `MOST_CELLS` random cells of each study."""
    rank = pd.Series(np.random.default_rng(0).random(len(study)), index=study.index).groupby(study).rank()
    return (rank <= MOST_CELLS).to_numpy()
