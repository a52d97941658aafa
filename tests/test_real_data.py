"""The whole workflow on real files: other gene names, panels, log values, no labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata
import numpy as np
import pytest

import scim
from scim import ontology

if TYPE_CHECKING:
    import pandas as pd

# what pp should find in each file: source, kind, kind of gene names
FILES = {
    "zheng_facs": ("X", "counts", "ensembl"),
    "zheng_sorted_scminer": ("X", "counts", "symbol"),
    "pbmc3k": ("X", "counts", "symbol"),
    "onek1k": ("X", "counts", "ensembl"),
    "baron_human234": ("X", "counts", "symbol"),
    "pbmc_8studies_unlabelled": ("X", "fractional", "symbol"),  # three of its studies are not whole counts
    "pbmc_2chem": ("X", "counts", "symbol"),
    "pbmc_donorA_unlabelled": ("X", "counts", "symbol"),
    "lung_tumour_300_lognorm": ("X", "lognorm", "symbol"),
}


@pytest.fixture
def read(data_folder):
    return lambda name: anndata.read_h5ad(data_folder / f"{name}.h5ad")


def under(terms: pd.Series, root: str) -> np.ndarray:
    """Return which terms are `root` or its descendants."""
    top = ontology.term_id(root)
    below = ontology.descendants(top) | {top}
    return terms.isin(below).to_numpy()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore::scim._core.errors.ScimWarning")
def test_every_file_is_embedded_and_annotated(read, name):
    adata = read(name)
    before = adata.X.copy()
    scim.tl.embed(adata)
    record = adata.uns["scim"]["X_scim"]
    assert (record["counts"], record["kind"], record["gene_names"]) == FILES[name]
    np.testing.assert_allclose(np.linalg.norm(adata.obsm["X_scim"], axis=1), 1, rtol=1e-5)
    assert (before != adata.X).nnz == 0
    scim.tl.annotate(adata)
    assert adata.obs["scim_label"].notna().mean() > 0.5


@pytest.mark.filterwarnings("ignore::scim._core.errors.ScimWarning")
def test_blood_of_another_chemistry_gets_its_types(read):
    """A study that is not in the packaged atlas, 5' and 3', three coarse labels."""
    adata = read("pbmc_2chem")
    scim.tl.embed(adata)
    scim.tl.annotate(adata)
    terms = adata.obs["scim_label_id"].astype(object)
    ours = np.select(
        [
            under(terms, "B cell"),
            under(terms, "monocyte"),
            under(terms, "T cell") | under(terms, "natural killer cell"),
        ],
        ["B cells", "Monocytes", "T/NK cells"],
        "other",
    )
    assert (ours == adata.obs["cell_type"].astype(str)).mean() > 0.8


def test_filters_and_hits_on_the_packaged_atlas(read):
    adata = read("pbmc_donorA_unlabelled")[:300].copy()
    scim.tl.embed(adata)
    scim.tl.search(adata, k=20, where="study == 'onek1k' and label != 'memory B cell'")
    hits = scim.get.hits(adata, ["study", "label", "tissue"], only_similar=False)
    assert len(hits) == 300 * 20
    assert set(hits["study"]) == {"onek1k"}
    assert "memory B cell" not in set(hits["label"])


def test_a_backed_file_gives_the_same_rows_as_a_loaded_one(read, data_folder):
    loaded = read("pbmc3k")
    scim.tl.embed(loaded)
    backed = anndata.read_h5ad(data_folder / "pbmc3k.h5ad", backed="r")
    scim.tl.embed(backed)
    np.testing.assert_array_equal(backed.obsm["X_scim"], loaded.obsm["X_scim"])


def test_the_packaged_atlas_is_small_and_whole():
    files = [file for file in scim.atlas.PACKAGED.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 20e6
    with scim.atlas.open(scim.atlas.PACKAGED) as atlas:
        assert atlas.n_obs == len(atlas.obs()) == atlas.index.n_rows
        assert scim.atlas.verify(atlas.path) == []
        np.testing.assert_array_equal(atlas.index.ids, np.arange(atlas.n_obs))
        assert all(ontology.term_name(term) == name for name, term in zip(*atlas.labels[1:], strict=True))
