"""Define thirty states of held-out studies, and which cells of the other studies are in the same state.

A state is a Cell Ontology term, or the authors' own words where both studies use them. By a term, cells of the term or
of a descendant are relevant, those of an ancestor may be and are ignored, and all others are not relevant. By words,
cells of the term of the state that the words do not name are ignored too: their authors did not look for the state.

Decided by markers, not by words:

- Myofibroblasts. `Myofibroblasts GREM1 GREM2` of Kong 2023 express MYH11, DES and ACTG2 (67 to 73 %) and rarely COL1A1
  (27 %): they are smooth muscle, and myCAF-like cells of Wu 2021 (COL1A1 95 %, POSTN 80 %, FAP 35 %, MYH11 none) are
  not. Inflammatory fibroblasts of Kong 2023 (93, 60, 60 and 7 %) are the same activated state in another tissue.
- Tumour-associated macrophages are those of the two tumours; macrophages of other tissues are ignored.
- Exhausted T cells: Wu 2021 has one cell of that name, no other study any, so there is no such state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import scim

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

RELEVANT, OTHER, IGNORED = 1, 0, -1

PHAGOCYTES = ("CL:0000113",)
T_AND_INNATE = ("CL:0000084", "CL:0001065")
B_LINEAGE = ("CL:0000945",)
STROMA = ("CL:0000057", "CL:0000186", "CL:0000669", "CL:0000192")
ENDOTHELIUM = ("CL:0000115",)
PANCREAS = ("CL:0000163", "CL:0002079", "CL:0002064")
"""Lineages: monocytes, macrophages and dendritic cells; T and innate lymphoid cells; lymphocytes of B lineage;
fibroblasts, myofibroblasts, pericytes and smooth muscle; endothelium; endocrine, ductal and acinar cells."""


class State(NamedTuple):
    """Cells of one study, whose centroid is the query."""

    name: str
    study: str
    term: str
    """Type of the cells, or that of which the authors' words name a state."""
    lineage: tuple[str, ...]
    """Terms within whose cells similarity is compared with the signature."""
    words: str = ""
    """Pattern of the authors' labels that the cells of the query have."""
    targets: tuple[tuple[str, str], ...] = ()
    """Study and pattern of its authors' labels, for a state by words."""


STATES = (
    State("naive CD4 T", "pbmc3k", "CL:0000895", T_AND_INNATE),
    State("memory CD4 T", "pbmc3k", "CL:0000897", T_AND_INNATE),
    State("CD8 T", "pbmc3k", "CL:0000625", T_AND_INNATE),
    State("NK", "pbmc3k", "CL:0000623", T_AND_INNATE),
    State("B", "pbmc3k", "CL:0000236", B_LINEAGE),
    State("classical monocyte", "pbmc3k", "CL:0000860", PHAGOCYTES),
    State("non-classical monocyte", "pbmc3k", "CL:0000875", PHAGOCYTES),
    State("dendritic cell", "pbmc3k", "CL:0000451", PHAGOCYTES),
    State("CD4 T, 1,000 genes", "onek1k", "CL:0000624", T_AND_INNATE),
    State("non-classical monocyte, 1,000 genes", "onek1k", "CL:0000875", PHAGOCYTES),
    State("alpha", "baron human3", "CL:0000171", PANCREAS),
    State("beta", "baron human3", "CL:0000169", PANCREAS),
    State("stellate", "baron human3", "CL:0002410", STROMA),
    State("regulatory T", "Kong 2023", "CL:0000792", T_AND_INNATE),
    State("plasma cell", "Kong 2023", "CL:0000786", B_LINEAGE),
    State("macrophage of the gut", "Kong 2023", "CL:0000235", PHAGOCYTES),
    State("interferon-stimulated macrophage", "Kong 2023", "CL:0000235", PHAGOCYTES, "Macrophages CXCL9 CXCL10",
          (("Wu 2021", "Myeloid_c9_Macrophage_2_CXCL10"),)),
    State("fibroblast of the gut", "Kong 2023", "CL:0000057", STROMA),
    State("myofibroblast-like fibroblast", "Kong 2023", "CL:0000057", STROMA, "Inflammatory fibroblasts IL11",
          (("Wu 2021", "CAFs myCAF"),)),
    State("pericyte of the gut", "Kong 2023", "CL:0000669", STROMA),
    State("endothelial cell", "Kong 2023", "CL:0000115", ENDOTHELIUM),
    State("lymphatic endothelial cell", "Kong 2023", "CL:0002138", ENDOTHELIUM),
    State("group 3 innate lymphoid cell", "Kong 2023", "CL:0001071", T_AND_INNATE),
    State("Kupffer cell", "He 2020", "CL:0000235", PHAGOCYTES),
    State("NK of the liver", "He 2020", "CL:0000623", T_AND_INNATE),
    State("vascular smooth muscle", "He 2020", "CL:0000359", STROMA),
    State("tumour-associated macrophage", "Wu 2021", "CL:0000235", PHAGOCYTES, "Macrophage|Cycling_Myeloid",
          (("Kim 2020", "Myeloid"),)),
    State("cancer-associated fibroblast", "Wu 2021", "CL:0000057", STROMA),
    State("plasmablast", "Wu 2021", "CL:0000786", B_LINEAGE, "Plasmablasts"),
    State("activated CD8 T", "Wu 2021", "CL:0000625", T_AND_INNATE, "T_cells_c7_CD8\\+_IFNG",
          (("He 2020", "TEM_INFG"),)),
)  # fmt: skip


def is_query(obs: pd.DataFrame, state: State) -> NDArray[np.bool_]:
    """Return which cells make the centroid of a state: of its study and term, and with its words."""
    chosen = (obs["study"] == state.study) & (obs["label"] == state.term)
    return (chosen & _has_words(obs, state.words)).to_numpy()


def relevance(obs: pd.DataFrame, state: State) -> NDArray[np.int8]:
    """Return for each cell whether it is `RELEVANT`, `OTHER` (not relevant) or `IGNORED`, (n_obs,).

    Cells of the query's study and unlabelled cells are ignored.
    """
    out = obs["label"].map({term: _of_term(term, state) for term in obs["label"].dropna().unique()})
    out = out.fillna(IGNORED).to_numpy(dtype=np.int8)
    for study, words in state.targets:
        named = (obs["study"] == study) & _has_words(obs, words)
        out[(named & (out == RELEVANT)).to_numpy()] = 2 * RELEVANT
    if state.targets:
        out = np.where(out == 2 * RELEVANT, RELEVANT, np.where(out == RELEVANT, IGNORED, out)).astype(np.int8)
    out[(obs["study"] == state.study).to_numpy()] = IGNORED
    return out


def _of_term(term: str, state: State) -> int:
    """Return the relevance of a term for the term of a state."""
    if term == state.term or state.term in scim.ontology.ancestors(term):
        return RELEVANT
    return IGNORED if term in scim.ontology.ancestors(state.term) else OTHER


def _has_words(obs: pd.DataFrame, words: str) -> pd.Series:
    """Return which cells have a label of the authors, broad or fine, that begins with a pattern."""
    texts = [obs[column].astype(str) for column in ("author_cell_type", "finer_cell_type")]
    return texts[0].str.match(words) | texts[1].str.match(words)


def in_lineage(obs: pd.DataFrame, state: State) -> NDArray[np.bool_]:
    """Return which labelled cells of other studies are of the lineage of a state."""
    lineage = set(state.lineage)
    inside = {term: not lineage.isdisjoint({term, *scim.ontology.ancestors(term)}) for term in obs["label"].dropna()}
    found = obs["label"].map(inside).astype("boolean").fillna(value=False).to_numpy(dtype=bool)
    return found & (obs["study"] != state.study).to_numpy()


_CHEMISTRIES = ("10x 3' v1", "10x 3' v2", "10x 3' v3", "10x 5' v1")
_LATER = "10x, not v1"
_UNSURE = {_LATER: ("10x 3' v2", "10x 3' v3", "10x 5' v1", "10x"), "10x": (*_CHEMISTRIES, _LATER)}
"""Platforms that may be the same as one of unknown chemistry."""
_LATER_STUDIES = ("He 2020", "James 2020", "Madissoon 2020", "King 2021")
"""Their cells were measured years after 10x 3' v1 was replaced; those of Kong 2023 are in part of an older study."""
_NUCLEI = ("Litvinukova 2020", "Koenig 2022", "Kanemaru 2023", "GSE224995", "GSE203548", "GSE156703", "Tran 2021",
           "Allen 2018")  # fmt: skip


def platforms(obs: pd.DataFrame) -> NDArray[np.object_]:
    """Return the platform of each cell: 10x chemistry, known or not; nuclei by any of them; inDrop; Smart-seq v4."""
    assays = obs["assay"].astype(str)
    names = np.where(assays.isin(_CHEMISTRIES) | ~assays.str.startswith("10x"), assays, "10x").astype(object)
    names[obs["study"].isin(_LATER_STUDIES).to_numpy()] = _LATER
    names[(obs["study"].isin(_NUCLEI) & assays.str.startswith("10x")).to_numpy()] = "10x nuclei"
    return names


def of_other_platform(obs: pd.DataFrame, state: State) -> NDArray[np.bool_]:
    """Return which cells were measured by another platform than the query; unknown chemistries may be the same."""
    names = platforms(obs)
    own = names[(obs["study"] == state.study).to_numpy()][0]
    same = {own, *_UNSURE.get(own, ()), *(name for name, unsure in _UNSURE.items() if own in unsure)}
    return ~np.isin(names, sorted(same))
