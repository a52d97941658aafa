"""The studies of the packaged atlas: the tables name terms of the ontologies, and the files are read as they say."""

import importlib
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from cellxgene_ontology_guide.ontology_parser import OntologyParser
from scipy import sparse

import scim

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module
    sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def studies(scripts):
    return scripts("packaged_studies")


@pytest.fixture(scope="module")
def labels(studies):
    return pd.read_csv(studies.LABELS, keep_default_na=False)


@pytest.fixture(scope="module")
def cells(studies, data_folder):
    if not (data_folder / "tissues").is_dir():
        pytest.skip("the folder of real data has no tissues")
    return studies.read(data_folder)


def test_labels_are_terms_by_id_and_name(labels):
    named = labels[labels["cell_type"] != ""]
    assert [scim.ontology.term_name(term) for term in named["cell_type_ontology_term_id"]] == named[
        "cell_type"
    ].tolist()
    unlabelled = labels[labels["cell_type"] == ""]
    assert (unlabelled["cell_type_ontology_term_id"] == "").all()
    assert (unlabelled["note"] != "").all(), "a label without a term says why"
    assert not labels.duplicated(["file", "label"]).any()


def test_no_label_joins_most_others(labels):
    names = sorted(set(labels["cell_type"]) - {""})
    assert scim.ontology.related(names).mean(axis=1).max() < 0.2


@pytest.mark.parametrize(("field", "ontology"), [("tissue", "UBERON"), ("assay", "EFO"), ("disease", "MONDO")])
def test_values_are_those_of_the_schema(studies, field, ontology):
    values = set()
    for file in studies.FILES:
        value = getattr(file, field)
        values |= set(value.words.values()) if isinstance(value, studies.Column) else {value}
    assert values - {"normal"} <= set(OntologyParser().get_term_label_to_id_map(ontology))


def test_suspensions_and_kinds_of_tissue_are_those_of_the_schema(studies):
    assert {file.suspension_type for file in studies.FILES} == {"cell", "nucleus"}
    assert {file.tissue_type for file in studies.FILES} == {"tissue", "cell culture"}
    nuclei = {file.name.split("_")[0] for file in studies.FILES if file.suspension_type == "nucleus"}
    assert nuclei == {"popcomm", "tran2021", "allen"}
    for file in studies.FILES:
        assert (file.tissue_type == "cell culture") == (file.study == "Vinsland 2025")


def test_the_packaged_atlas_has_the_columns_of_the_studies(studies):
    with scim.atlas.open(scim.atlas.PACKAGED) as atlas:
        obs = atlas.obs(columns=["study", *studies.ABOUT])
        card = atlas.model.metadata["card"]
    assert set(obs["study"]) == set(studies.PAPERS)
    assert pd.api.types.is_bool_dtype(obs["in_vivo"])
    assert set(obs.loc[~obs["in_vivo"], "study"]) == {"Vinsland 2025"}
    assert (obs["in_vivo"] == (obs["tissue_type"] == "tissue")).all()
    assert set(obs.loc[obs["suspension_type"] == "nucleus", "tissue"]) == {"heart", "brain"}
    facts = {study["study"]: study for study in card["studies"]}
    assert facts["Vinsland 2025"]["tissue_type"] == ["cell culture"]
    assert facts["Tran 2021"]["suspension_type"] == ["nucleus"]


def test_the_measures_of_both_cards_are_the_same(scripts):
    measures = scripts("make_packaged_atlas").MACRO_F1
    page = (SCRIPTS.parent / "docs" / "model_card.md").read_text()
    table = page[page.index("| macro-F1 | scim, fixed |") : page.index("| mean |")].splitlines()[2:]
    of_the_page = [float(value) for row in table for value in row.split("|")[2].split(",")]
    assert of_the_page == list(measures.values())
    with scim.atlas.open(scim.atlas.PACKAGED) as atlas:
        assert atlas.model.metadata["card"]["macro_f1_of_studies_left_out"] == measures


def test_reads_all_files(studies, cells):
    assert list(cells) == [file.name for file in studies.FILES]
    for adata in cells.values():
        assert sparse.isspmatrix_csr(adata.X)
        assert (adata.X.data >= 0).all()
        assert np.array_equal(adata.X.data, np.round(adata.X.data))
        assert adata.obs_names.is_unique
        assert adata.obs.drop(columns=["cell_type", "author_cell_type"]).notna().all(axis=None)
        assert all(map(scim.ontology.term_id, adata.obs["cell_type"].dropna().unique()))
    obs = pd.concat([adata.obs for adata in cells.values()])
    assert set(obs["study"]) == set(studies.PAPERS)
    assert {"blood", "pancreas", "intestine", "liver", "lymph node", "breast", "lung", "heart", "brain"} < set(
        obs["tissue"]
    )
    assert obs.groupby("study")["tissue"].nunique().eq(1).all()


def test_every_row_of_the_table_is_used(labels, cells):
    for file, rows in labels.groupby("file"):
        assert set(rows["label"]) == set(cells[file].obs["author_cell_type"])


def test_a_cell_of_two_files_is_read_once(cells):
    first, second = (cells[name].obs_names.str.split("-").str[0] for name in ("zheng_facs", "zheng_sorted_scminer"))
    assert not set(first) & set(second)


def test_a_nucleus_that_two_studies_processed_is_read_once(cells):
    adata = cells["popcomm_heart_6000_1589genes"]
    barcodes = adata.obs_names.str.split("-").str[0]
    assert not adata.obs.assign(barcode=barcodes).duplicated(["donor", "study", "barcode"]).any()
    assert 5980 <= adata.n_obs < 6000


def test_the_donor_of_the_gut_is_of_the_cell(cells):
    obs = cells["kong2023_gut_1020"].obs
    assert (obs.groupby("donor")["disease"].nunique() == 1).all(), "a donor is healthy or ill"
    assert obs.groupby("disease")["donor"].nunique().to_dict() == {"normal": 24, "Crohn disease": 45}


def test_a_label_without_a_row_is_an_error(studies):
    words = pd.Series(["B cells", "C cells"])
    with pytest.raises(KeyError, match=r"'C cells'"):
        studies._cell_types(words, pd.Series({"B cells": "CL:0000236"}), "a_file")


def test_draws_at_most_so_many_cells_of_a_label_of_a_study(scripts):
    make = scripts("make_packaged_atlas")
    obs = pd.DataFrame({"study": ["s"] * 9 + ["t"] * 3, "cell_type": ["a"] * 5 + ["b"] * 2 + [None] * 2 + ["a"] * 3})
    obs.index = [f"cell{i}" for i in range(12)]
    whole = ad.AnnData(sparse.csr_matrix(np.ones((12, 1), dtype=np.float32)), obs=obs)
    drawn = make.drawn_cells({"first": whole[:3], "second": whole[3:]}, most=2)
    assert [adata.n_obs for adata in drawn] == [len(set(adata.obs_names)) for adata in drawn]
    counts = pd.concat([adata.obs for adata in drawn]).value_counts(["study", "cell_type"])
    assert counts.to_dict() == {("s", "a"): 2, ("s", "b"): 2, ("t", "a"): 2}


def test_parts_of_a_study_count_as_studies_in_training(scripts):
    make = scripts("make_packaged_atlas")
    obs = pd.DataFrame({"study": ["baron", "He 2020"], "donor": ["human2", "human2"], "tissue": "-", "disease": "-"})
    assert make.training_studies(obs).tolist() == ["baron human2", "He 2020"]
