"""Define the studies of ten tissues as queries, and the cases: what is left out of model, atlas and calibration.

Terms are compared at the common level of blood (benchmarks/quality). A cell is known if the training has its type, a
type below it, or a type above it that is not general; else it is novel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import data
import packaged_studies
import pandas as pd
from cases import related_terms

import scim

if TYPE_CHECKING:
    from pathlib import Path

    import anndata as ad
    import numpy as np

    Cells = dict[str, ad.AnnData]

GENERAL = ("CL:0000066", "CL:0000763", "CL:0000738", "CL:0000542", "CL:0000540", "CL:0000034", "CL:0011026",
           "CL:0000164")  # fmt: skip
"""Epithelial, myeloid, stem, progenitor and enteroendocrine cell, leukocyte, lymphocyte, neuron: training cells of
these labels do not make the types below them known."""
MIXED = ("CL:0000540", "CL:0011026")
"""Neuron and progenitor cell: types below them, as endocrine cells and monocytes, do not make them known."""
QUERY_ONLY = ("pbmc_2chem",)
"""Files that are in no training."""


class Query(NamedTuple):
    """Cells that are predicted together."""

    name: str
    file: str
    study: str
    """Queries of one study are averaged first."""
    cells: tuple[str, str] | None = None
    """Column and value of obs; all cells."""


TISSUE_FILES = {
    "kong": "kong2023_gut_1020",
    "he": "he2020_liver_2839",
    "spacexr": "spacexr_lymphoid_330",
    "wu": "wu2021_breast_tnbc_1564",
    "kim": "kim2020_luad_397",
    "heart": "popcomm_heart_6000_1589genes",
    "fetal": "fetalcortexculture_4474_2000genes",
    "tran": "tran2021_brain_nuclei_1000genes",
    "allen": "allen_cortex_1800_2023genes",
}
QUERIES = {test.name: Query(test.name, test.file, test.left_out, test.cells) for test in data.TESTS.values()}
QUERIES |= {name: Query(name, file, name) for name, file in TISSUE_FILES.items()}
IMMUNE = ("he", "kong", "wu", "spacexr", "kim")
"""Queries with immune cells of liver, gut, breast, lymphoid organs and lung."""
BRAIN = ("fetal", "tran", "allen")
BARON = ("baron_human2", "baron_human3", "baron_human4")


TUMOUR = "CL:0001064"
"""The cells of tumours of two organs have one term, but are not one type."""


class Case(NamedTuple):
    """Queries, which are left out of the training, and types that are left out of all studies."""

    name: str
    queries: tuple[str, ...]
    without: tuple[str, ...] = ()
    """Types that are removed from the training with their ancestors and descendants."""


LINEAGES = (
    Case("pbmc3k without B", ("pbmc3k",), ("CL:0000945",)),
    Case("zheng without NK", ("zheng_facs", "zheng_sorted"), ("CL:0000623",)),
    Case("onek1k without monocytes", ("onek1k",), ("CL:0000576", "CL:0000235")),
)
CASES = {
    case.name: case
    for case in (
        Case("zheng", ("zheng_facs", "zheng_sorted")),
        *(Case(name, (name,)) for name in ("pbmc3k", "onek1k", *BARON)),
        Case("everything", ("2chem_3prime", "2chem_5prime")),
        *(Case(name, (name,)) for name in ("he", "kong", "spacexr", "heart")),
        *(Case(name, (name,), (TUMOUR,)) for name in ("wu", "kim")),
        Case("brain", BRAIN),
        Case("pancreas", BARON),
        *LINEAGES,
        Case("blood and pancreas", tuple(TISSUE_FILES)),
    )
}
"""`everything` and `pancreas` beside the names of their queries; `blood and pancreas` has no other tissue at all."""


def read(folder: Path) -> Cells:
    """Read all studies; obs gets `label` (Cell Ontology id), `common` (at the common level), `study` and `tissue`.

    Donors of the pancreas count as studies, so that its types have several.
    """
    cells = packaged_studies.read(folder)
    for adata in cells.values():
        adata.obs["label"] = adata.obs["cell_type"].astype(object)
        pancreas = adata.obs["study"] == "baron"
        adata.obs["study"] = adata.obs["study"].where(~pancreas, "baron " + adata.obs["donor"].astype(str))
        adata.obs["common"] = adata.obs["label"].map(data.common, na_action="ignore")
    return cells | {name: data.read(folder)[name] for name in QUERY_ONLY}


def query(cells: Cells, name: str) -> ad.AnnData:
    """Return the cells of a query, labelled or not."""
    adata, chosen = cells[QUERIES[name].file], QUERIES[name].cells
    return adata.copy() if chosen is None else adata[adata.obs[chosen[0]] == chosen[1]].copy()


def training(cells: Cells, case: Case) -> Cells:
    """Return the labelled training cells by file: all studies less the queries and the removed types."""
    kept = _kept(cells, case)
    return {file: cells[file][keep].copy() for file, keep in kept.items() if keep.any()}


def trained(cells: Cells, case: Case) -> set[str]:
    """Return the types of the common level in the training cells."""
    return {term for file, keep in _kept(cells, case).items() for term in cells[file].obs["common"][keep]}


def _kept(cells: Cells, case: Case) -> dict[str, np.ndarray]:
    """Return which cells of each file are training cells."""
    removed = set().union(*(related_terms(term) for term in case.without))
    kept = {}
    for file, adata in cells.items():
        obs = adata.obs
        kept[file] = (obs["label"].notna() & ~obs["label"].isin(removed) & (file not in QUERY_ONLY)).to_numpy()
        for name in case.queries:
            file_of_query, chosen = QUERIES[name].file, QUERIES[name].cells
            if file_of_query == file:
                kept[file] &= False if chosen is None else (obs[chosen[0]] != chosen[1]).to_numpy()
    return kept


def truth(cells: Cells, case: Case, name: str) -> pd.DataFrame:
    """Return `truth` (at the common level, missing = unlabelled), `known` and `novel` of the cells of a query.

    Where types are removed from the training, other novel cells are neither known nor novel.
    """
    true = query(cells, name).obs["common"].astype(object)
    types = trained(cells, case)
    above = types.union(*(scim.ontology.ancestors(term) for term in types))
    specific = types.difference(GENERAL)
    known = {
        term: term in types
        or (term in above and term not in MIXED)
        or not specific.isdisjoint(scim.ontology.ancestors(term))
        for term in true.dropna().unique()
    }
    is_known = true.map(known).astype("boolean").fillna(value=False).to_numpy(dtype=bool)
    novel = true.notna().to_numpy() & ~is_known
    if case.without:
        novel &= true.isin(set().union(*(related_terms(term) for term in case.without))).to_numpy()
    return pd.DataFrame({"truth": true.to_numpy(), "known": is_known, "novel": novel}, index=true.index)


def first_case(name: str) -> Case:
    """Return the case of a query in which only its own study is left out."""
    return next(case for case in CASES.values() if name in case.queries)
