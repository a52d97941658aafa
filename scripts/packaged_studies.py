"""The studies of the packaged atlas: their files, what is known of them, and how they are read.

`packaged_labels.csv` maps the authors' labels to Cell Ontology terms; so does `label_to_cl.csv`, in the folder of data,
for the files of blood. Where markers contradict a label, the term follows the markers and a note says so. Cycling cells
of no known type, doublets, mixtures, and cells that two labels put in different types have no term.

    python scripts/packaged_studies.py FOLDER_OF_DATA

prints how many cells of each label each study has.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import pandas as pd
from anndata.utils import make_index_unique
from scipy import sparse

import scim

if TYPE_CHECKING:
    from collections.abc import Mapping

LABELS = Path(__file__).with_name("packaged_labels.csv")


@dataclass(frozen=True)
class Column:
    """A column of obs, or the names of the cells, and what is read from it."""

    name: str
    words: Mapping[str, str]
    """Word for each pattern with which a text may begin; exactly one of the patterns must match."""


@dataclass(frozen=True)
class Part:
    """The part of each text of a column that a group of a pattern matches."""

    name: str
    pattern: str


CELL_NAME = "cell name"
"""Stands for the names of the cells where a column is named."""


@dataclass(frozen=True)
class StudyFile:
    """A file of counts of one or several studies. Tissue, assay and disease have the names of the CELLxGENE schema."""

    path: str
    study: str | Column
    labels: str
    """Columns of the authors' labels. The table has some words of a finer one behind a word of the first: `T: Th1`."""

    tissue: str | Column
    """The organ, also of cells in culture: where they were taken from."""

    assay: str | Column
    licence: str
    """Of the file; CC-BY-4.0 of the study in CELLxGENE Discover."""

    donor: str | Part | None = "donor"
    disease: str | Column = "normal"
    suspension_type: str = "cell"
    """`"cell"` or `"nucleus"`, as in the CELLxGENE schema."""

    tissue_type: str = "tissue"
    """`"tissue"`, `"cell culture"` or `"organoid"`, as in the CELLxGENE schema; all but the first are in vitro."""

    @property
    def name(self) -> str:
        """Name of the file, as in the tables of labels."""
        return Path(self.path).stem


# The library names of the lymphoid file tell the study; each of the three studied one organ.
_LYMPHOID_STUDIES = {"BCP": "King 2021", "4861STDY7[45]": "Madissoon 2020",
                     "4861STDY7[12]|Human_colon|Pan_T": "James 2020"}  # fmt: skip
_ORGANS = {"King 2021": "tonsil", "Madissoon 2020": "spleen", "James 2020": "lymph node"}
_LYMPHOID_ORGANS = {library: _ORGANS[study] for library, study in _LYMPHOID_STUDIES.items()}

# Kanemaru 2023 processed the nuclei of Litvinukova 2020 anew and added those of six donors, BO_H46 to BO_H67.
_HEART_STUDIES = {"EGAS00001006374_BO": "Kanemaru 2023", "EGAS00001006374_[DH]|ERP123138": "Litvinukova 2020",
                  "GSE183852": "Koenig 2022", "GSE224995": "GSE224995", "GSE203548": "GSE203548",
                  "GSE156703": "GSE156703"}  # fmt: skip
_HEART_ASSAYS = {"10x3'v3": "10x 3' v3", "10x3'v2": "10x 3' v2", "10x5'v2": "10x 5' v2",
                 "10x3' nuclei": "10x 3' transcription profiling"}  # fmt: skip

# The columns of donor and tissue of the gut are those of other cells: a cell from the fraction of the epithelium is as
# often called immune or stromal, and FABP6 is in as many epithelial cells of the colon as of the ileum. The names of
# the cells fit their types: H (healthy), N (not inflamed) or I (inflamed), the donor, and the fraction. Donors of one
# or two digits are the healthy ones of an earlier study of the same authors. Nothing tells ileum from colon.
_GUT_DONOR = r"[HIN](\d+)_"
_GUT_DISEASES = {r"H|N\d\d?_": "normal", r"I|N\d{3}": "Crohn disease"}

# A tissue is an organ, not a part of it: a user who filters by heart or brain wants all chambers or areas.
FILES = (
    StudyFile("zheng_facs", "zheng", "celltype", "blood", "10x 3' v1", "BSD-2-Clause", donor=None),
    StudyFile("zheng_sorted_scminer", "zheng", "trueLabel", "blood", "10x 3' v1", "Apache-2.0", donor=None),
    StudyFile("pbmc3k", "pbmc3k", "cell_type", "blood", "10x 3' v1", "MIT", donor=None),
    StudyFile("onek1k", "onek1k", "cell_type", "blood", "10x 3' v2", "MIT", donor="indiv"),
    StudyFile("baron_human234", "baron", "cell_ontology_id", "pancreas", "inDrop", "MIT"),
    StudyFile("tissues/kong2023_gut_1020", "Kong 2023", "cell_type", "intestine", "10x 3' transcription profiling",
              "Apache-2.0", donor=Part(CELL_NAME, _GUT_DONOR), disease=Column(CELL_NAME, _GUT_DISEASES)),
    StudyFile("tissues/he2020_liver_2839", "He 2020", "cell_type cell_type_broad cell_type_fine", "liver",
              "10x transcription profiling", "CC-BY-4.0"),
    StudyFile("tissues/spacexr_lymphoid_330", Column("donor", _LYMPHOID_STUDIES), "cell_type",
              Column("donor", _LYMPHOID_ORGANS), "10x transcription profiling", "CC-BY-4.0"),
    StudyFile("tissues/wu2021_breast_tnbc_1564", "Wu 2021", "cell_type cell_type_subset", "breast", "10x 3' v2",
              "CC-BY-4.0", disease="triple-negative breast carcinoma"),
    StudyFile("tissues/kim2020_luad_397", "Kim 2020", "cell_type", "lung", "10x 3' v2", "MIT",
              disease="lung adenocarcinoma"),
    StudyFile("tissues/popcomm_heart_6000_1589genes", Column("donor", _HEART_STUDIES), "cell_type cell_type_original",
              "heart", Column("platform", _HEART_ASSAYS), "MIT", donor=Part("donor", "[^_]+_(.+)"),
              suspension_type="nucleus"),
    StudyFile("tissues/fetalcortexculture_4474_2000genes", "Vinsland 2025", "cell_type",
              "brain", "10x 3' v3", "CC-BY-4.0", tissue_type="cell culture"),
    StudyFile("tissues/tran2021_brain_nuclei_1000genes", "Tran 2021", "cell_type",
              "brain", "10x 3' v3", "Artistic-2.0", suspension_type="nucleus"),
    StudyFile("tissues/allen_cortex_1800_2023genes", "Allen 2018", "cell_type",
              "brain", "Smart-seq v4", "Artistic-2.0", suspension_type="nucleus"),
)  # fmt: skip

PAPERS = {
    "zheng": "Zheng et al. 2017, Nature Communications, doi:10.1038/ncomms14049",
    "pbmc3k": "10x Genomics, 3k PBMCs from a healthy donor; labels of the Seurat tutorial",
    "onek1k": "Yazar et al. 2022, Science, doi:10.1126/science.abf3041",
    "baron": "Baron et al. 2016, Cell Systems, doi:10.1016/j.cels.2016.08.011",
    "Kong 2023": "Kong et al. 2023, Immunity, doi:10.1016/j.immuni.2023.01.002",
    "He 2020": "He et al. 2020, Genome Biology, doi:10.1186/s13059-020-02210-0",
    "James 2020": "James et al. 2020, Nature Immunology, doi:10.1038/s41590-020-0602-z",
    "Madissoon 2020": "Madissoon et al. 2020, Genome Biology, doi:10.1186/s13059-019-1906-x",
    "King 2021": "King et al. 2021, Science Immunology, doi:10.1126/sciimmunol.abe6291",
    "Wu 2021": "Wu et al. 2021, Nature Genetics, doi:10.1038/s41588-021-00911-1",
    "Kim 2020": "Kim et al. 2020, Nature Communications, doi:10.1038/s41467-020-16164-1",
    "Kanemaru 2023": "Kanemaru et al. 2023, Nature, doi:10.1038/s41586-023-06311-1",
    "Koenig 2022": "Koenig et al. 2022, Nature Cardiovascular Research, doi:10.1038/s44161-022-00028-6",
    "Litvinukova 2020": "Litviňuková et al. 2020, Nature, doi:10.1038/s41586-020-2797-4",
    "GSE224995": "Gene Expression Omnibus, GSE224995",
    "GSE203548": "Gene Expression Omnibus, GSE203548",
    "GSE156703": "Gene Expression Omnibus, GSE156703",
    "Vinsland 2025": "Vinsland, Mannens et al. 2025, bioRxiv, doi:10.1101/2025.07.28.667119; fetal, cultured 11 days",
    "Tran 2021": "Tran et al. 2021, Neuron, doi:10.1016/j.neuron.2021.09.001",
    "Allen 2018": "Allen Institute for Brain Science 2018, Cell Types Database, anterior cingulate and visual cortex",
}
"""Where each study was published."""

ABOUT = ("donor", "tissue", "disease", "assay", "suspension_type", "tissue_type", "in_vivo")
"""Columns of :func:`read` that the packaged atlas has, beside study and label; all but the last hold text."""


def read(folder: Path | str) -> dict[str, anndata.AnnData]:
    """Read the studies by name of the file: counts (csr) of the genes of the file, its var as it is.

    obs gets `cell_type` (Cell Ontology id, missing where a cell has no label), `author_cell_type` and the columns named
    in `ABOUT`, and has no others.
    """
    folder = Path(folder)
    columns = ["file", "label", "cell_type_ontology_term_id"]
    terms = pd.concat([pd.read_csv(path)[columns] for path in (LABELS, folder / "label_to_cl.csv")])
    cells = {}
    for file in FILES:
        adata = anndata.read_h5ad(folder / f"{file.path}.h5ad")
        known = terms[terms["file"] == file.name].set_index("label")["cell_type_ontology_term_id"]
        obs = _columns(adata.obs, file, known)
        barcodes = adata.obs["barcode"].astype(str) if "barcode" in adata.obs else adata.obs_names
        obs.index = make_index_unique(pd.Index(barcodes, dtype=str))
        cells[file.name] = anndata.AnnData(sparse.csr_matrix(adata.X), obs=obs, var=adata.var)
    cells["zheng_sorted_scminer"] = _without_shared_cells(cells["zheng_sorted_scminer"], cells["zheng_facs"])
    cells["popcomm_heart_6000_1589genes"] = _without_repeated_cells(cells["popcomm_heart_6000_1589genes"])
    return cells


def _columns(obs: pd.DataFrame, file: StudyFile, terms: pd.Series) -> pd.DataFrame:
    """Return the columns that :func:`read` promises."""
    obs = obs.assign(**{CELL_NAME: obs.index})
    words = _authors_labels(obs, file.labels.split(), terms)
    values = {
        "cell_type": _cell_types(words, terms, file.name),
        "author_cell_type": words,
        "study": _values(obs, file.study),
        "donor": _donors(obs, file.donor),
        "tissue": _values(obs, file.tissue),
        "disease": _values(obs, file.disease),
        "assay": _values(obs, file.assay),
        "suspension_type": file.suspension_type,
        "tissue_type": file.tissue_type,
        "in_vivo": file.tissue_type == "tissue",
    }
    return pd.DataFrame(values, index=obs.index)


def _authors_labels(obs: pd.DataFrame, columns: list[str], terms: pd.Series) -> pd.Series:
    """Return the first word of each cell, with a colon and a finer word where the table of labels has both."""
    first = obs[columns[0]].astype(object)
    words = first
    for column in columns[1:]:
        both = first.astype(str) + ": " + obs[column].astype(str)
        words = words.where(~both.isin(terms.index), both)
    return words


def _cell_types(words: pd.Series, terms: pd.Series, file: str) -> pd.Series:
    """Return the Cell Ontology ids of labels; a file that no table names has them already."""
    if terms.empty:
        return words
    if missing := sorted(set(words.dropna()) - set(terms.index)):
        msg = f"No table of labels has these of {file}: {missing}."
        raise KeyError(msg)
    return words.map(terms)


def _donors(obs: pd.DataFrame, donor: str | Part | None) -> str | pd.Series:
    """Return the donor of each cell."""
    if donor is None:
        return "unknown"
    if isinstance(donor, str):
        return obs[donor].astype(str)
    return obs[donor.name].astype(str).str.extract(donor.pattern, expand=False)


def _values(obs: pd.DataFrame, value: str | Column) -> str | pd.Series:
    """Return the value of all cells, or the word of each."""
    if isinstance(value, str):
        return value
    texts = obs[value.name].astype(str)
    return texts.map({text: _word(text, value.words) for text in texts.unique()})


def _word(text: str, words: Mapping[str, str]) -> str:
    """Return the word of the one pattern with which a text begins."""
    (word,) = (word for pattern, word in words.items() if re.match(pattern, text))
    return word


def _without_shared_cells(adata: anndata.AnnData, other: anndata.AnnData) -> anndata.AnnData:
    """Drop the cells that another file of the same study has too: same barcode."""
    known = set(other.obs_names.str.split("-").str[0])
    return adata[~adata.obs_names.str.split("-").str[0].isin(known)].copy()


def _without_repeated_cells(adata: anndata.AnnData) -> anndata.AnnData:
    """Drop the second of two cells of one donor with the same barcode: the same nucleus, processed twice."""
    barcodes = adata.obs_names.str.split("-").str[0]
    return adata[~adata.obs[["study", "donor"]].assign(barcode=barcodes).duplicated().to_numpy()].copy()


def count_labels(cells: Mapping[str, anndata.AnnData]) -> pd.DataFrame:
    """Count the cells of each label (rows, by name, sorted by the ontology) in each study (columns)."""
    obs = pd.concat([adata.obs for adata in cells.values()])
    counts = pd.crosstab(obs["cell_type"].map(scim.ontology.term_name, na_action="ignore"), obs["study"])
    return counts.loc[scim.ontology.sort_terms(counts.index.tolist())]


if __name__ == "__main__":
    counts = count_labels(read(sys.argv[1]))
    for label, row in counts.iterrows():
        studies = ", ".join(f"{study} {n}" for study, n in row[row > 0].items())
        print(f"{label}: {row.sum()} ({studies})")
