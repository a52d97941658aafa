"""Read the studies, define the leave-one-study-out tests, and make queries with fewer genes or counts.

The folder of data holds the h5ad files named in `LABEL_COLUMNS` and `label_to_cl.csv`, which maps their labels to Cell
Ontology terms. A model that labels a study is trained on none of its cells; both files of zheng are one study.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from scipy import sparse

import scim

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"
LABEL_COLUMNS = {"zheng_facs": "celltype", "zheng_sorted_scminer": "trueLabel", "pbmc3k": "cell_type",
                 "onek1k": "cell_type", "baron_human234": "cell_ontology_id", "pbmc_2chem": "cell_type"}  # fmt: skip
TRAINING = ("zheng_facs", "zheng_sorted_scminer", "pbmc3k", "onek1k", "baron_human234")
"""The files of the packaged model: pbmc_2chem is a query only."""

COMMON = ("CL:0000236", "CL:0000624", "CL:0000625", "CL:0000623", "CL:0000860", "CL:0000875", "CL:0000451",
          "CL:0000233")  # fmt: skip
"""B, CD4 T, CD8 T, NK, CD14 and CD16 monocyte, DC, platelet: the level at which the blood studies agree."""


class Test(NamedTuple):
    """Query cells, predicted by models trained without their study."""

    name: str
    tissue: str
    left_out: str  # study, as in obs["study"]
    file: str
    cells: tuple[str, str] | None = None  # column and value of obs; all cells


TESTS = {
    test.name: test
    for test in (
        Test("zheng_facs", "blood", "zheng", "zheng_facs"),
        Test("zheng_sorted", "blood", "zheng", "zheng_sorted_scminer"),
        Test("pbmc3k", "blood", "pbmc3k", "pbmc3k"),
        Test("onek1k", "blood", "onek1k", "onek1k"),
        Test("2chem_3prime", "blood", "pbmc_2chem", "pbmc_2chem", ("tech", "V3")),
        Test("2chem_5prime", "blood", "pbmc_2chem", "pbmc_2chem", ("tech", "VDJ")),
        Test("baron_human2", "pancreas", "baron human2", "baron_human234", ("donor", "human2")),
        Test("baron_human3", "pancreas", "baron human3", "baron_human234", ("donor", "human3")),
        Test("baron_human4", "pancreas", "baron human4", "baron_human234", ("donor", "human4")),
    )
}
VARIANTS = ("full", "genes 2000", "genes 1000", "genes 500", "genes 200", "counts 50%", "counts 20%", "counts 10%",
            "lognorm")  # fmt: skip


def read(folder: Path) -> dict[str, ad.AnnData]:
    """Read the files; obs gets `label` (Cell Ontology id), `common` (at the common level), `study` and `tissue`."""
    table = pd.read_csv(folder / "label_to_cl.csv").set_index(["file", "label"])["cell_type_ontology_term_id"]
    cells = {}
    for name, column in LABEL_COLUMNS.items():
        adata = ad.read_h5ad(folder / f"{name}.h5ad")
        adata.obs_names_make_unique()
        words = adata.obs[column].astype(object)
        adata.obs["label"] = words if name.startswith("baron") else words.map(table[name])
        adata.obs["common"] = adata.obs["label"].map(common, na_action="ignore")
        adata.obs["study"] = "baron " + adata.obs["donor"].astype(str) if name.startswith("baron") else _study(name)
        adata.obs["tissue"] = "pancreas" if name.startswith("baron") else "blood"
        cells[name] = adata
    cells["zheng_sorted_scminer"] = _without_shared_cells(cells["zheng_sorted_scminer"], cells["zheng_facs"])
    return cells


def common(term: str) -> str:
    """Return the term of the common level at or above a term, else the term itself."""
    above = {term} | scim.ontology.ancestors(term)
    return next((top for top in COMMON if top in above), term)


def training(cells: dict[str, ad.AnnData], left_out: str, tissue: str | None = None) -> dict[str, ad.AnnData]:
    """Return the labelled cells of all other studies by file, of one tissue or of all."""
    chosen = {}
    for name in TRAINING:
        obs = cells[name].obs
        keep = obs["label"].notna() & (obs["study"] != left_out) & (tissue in (None, obs["tissue"].iloc[0]))
        if keep.any():
            chosen[name] = cells[name][keep].copy()
    return chosen


def query(cells: dict[str, ad.AnnData], test: Test) -> ad.AnnData:
    """Return the cells of a test, labelled or not."""
    adata = cells[test.file]
    return adata if test.cells is None else adata[adata.obs[test.cells[0]] == test.cells[1]].copy()


def variant(adata: ad.AnnData, name: str, seed: int) -> ad.AnnData:
    """Return the variant of a query: fewer genes, fewer counts, or no counts at all.

    Genes are drawn at random among those that at least 1 % of the cells express; the 500 are among the 1,000.
    """
    what, _, how_many = name.partition(" ")
    if what == "genes":
        return adata[:, _ranked_genes(adata, seed)[: int(how_many)]].copy()
    adata = adata.copy()
    if what == "counts":
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        adata.X = _thinned(sparse.csr_matrix(adata.X), int(how_many.rstrip("%")) / 100, random)
    elif what == "lognorm":
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    return adata


def _study(name: str) -> str:
    return name if name.startswith("pbmc") else name.split("_")[0]


def _without_shared_cells(adata: ad.AnnData, other: ad.AnnData) -> ad.AnnData:
    """Drop the cells that are in another file of the same study, by barcode."""
    known = set(other.obs["barcode"].astype(str).str.split("-").str[0])
    return adata[~adata.obs_names.str.split("-").str[0].isin(known)].copy()


def _ranked_genes(adata: ad.AnnData, seed: int) -> np.ndarray:
    """Return all columns in random order, rarely expressed ones last."""
    found = np.asarray((adata.X > 0).mean(axis=0)).ravel() >= 0.01
    order = np.random.default_rng(seed).permutation(adata.n_vars)
    return np.concatenate([order[found[order]], order[~found[order]]])


def _thinned(X: sparse.csr_matrix, share: float, random: np.random.Generator) -> sparse.csr_matrix:
    data = random.binomial(np.round(X.data).astype(np.int64), share).astype(np.float32)
    thinned = sparse.csr_matrix((data, X.indices.copy(), X.indptr.copy()), shape=X.shape)
    thinned.eliminate_zeros()
    return thinned
