"""The content of an atlas imported from a published folder, in every form."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import published
from helpers.folders import LABELS, write_frame
from scim._core import ScimWarning
from scim.cli import _main

tiledb = pytest.importorskip("tiledb")


def expected_metadata(made):
    return published.metadata_block(
        made.cells.rows(0), made.cells.study(0), made.labels, annotated=made.cells.annotated(0), seed=made.cells.seed
    )


def test_rows_are_those_of_the_metadata_without_the_deleted(made, atlas):
    obs = atlas.obs()
    rows = np.delete(np.arange(300), [11, 250])
    assert obs["cell_id"].tolist()[:298] == [str(row) for row in rows]
    metadata = expected_metadata(made).iloc[rows]
    assert obs["study"].tolist()[:298] == metadata["study"].tolist()
    for name in set(published.COLUMNS) - {"index", "study", "in_vivo"}:
        column = metadata[name].replace("NA", None)
        assert [x if pd.notna(x) else None for x in obs[name][:298]] == column.tolist()
    assert obs["in_vivo"].dtype == "boolean"
    assert obs["in_vivo"].tolist()[:298] == [text == "True" for text in metadata["in_vivo"]]
    assert obs["cell_line"].isna().any()


def test_embeddings_are_those_of_the_index(made, atlas):
    rows = np.delete(np.arange(300), [11, 250])
    ours = atlas.embeddings(np.arange(298))
    np.testing.assert_allclose(ours, made.cells.vectors(0)[rows], atol=1e-6)
    assert atlas.model_uid == scim.scimilarity.import_model(made.path).uid


def test_labelled_cells_are_matched_with_their_rows(made, atlas):
    obs = atlas.obs()
    expected = {row: line for line, row in enumerate(made.annotated.tolist()) if row not in (-1, 11, 250)}
    found = obs[obs["in_annotation"] & obs["in_cellsearch"]]
    assert dict(zip(found["cell_id"].astype(int), found["annotation_index"], strict=True)) == expected
    numbers = made.cells.label(0)
    assert found["reference_label"].tolist() == [LABELS[numbers[int(row)]] for row in found["cell_id"]]
    unlabelled = obs[~obs["in_annotation"]]
    assert unlabelled[["label", "label_id", "reference_label", "annotation_index"]].isna().all().all()


def test_labels_have_their_current_names(atlas):
    obs = atlas.obs(where="in_annotation == True", columns=["reference_label", "label", "label_id"]).drop_duplicates()
    assert {tuple(row) for row in obs.fillna("").to_numpy()} == {
        ("type I pneumocyte", "pulmonary alveolar type 1 cell", "CL:0002062"),
        ("T cell", "T cell", "CL:0000084"),
        ("native cell", "native cell", ""),
    }


def test_labelled_cells_that_are_no_rows_follow(made, atlas):
    obs = atlas.obs().iloc[298:]
    lines = [line for line, row in enumerate(made.annotated.tolist()) if row in (-1, 11, 250)]
    assert obs["cell_id"].tolist() == [f"annotation-{line}" for line in lines]
    assert obs["annotation_index"].tolist() == lines
    assert obs["in_annotation"].all()
    assert not obs["in_cellsearch"].any()
    assert obs["study"].tolist()[-7:] == ["outside"] * 7


def test_an_imported_atlas_annotates_and_searches(made, atlas):
    found = atlas.index.query(made.cells.vectors(0)[[3]], 2, where="in_cellsearch == True")
    assert found.ids[0, 0] == 3
    assert found.distances[0, 0] < 1e-6


def test_an_imported_atlas_has_no_problems(atlas):
    assert scim.atlas.verify(atlas.uri) == []
    assert len(atlas.info()["versions"]) == 1


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_the_array_of_embeddings_alone(made, atlas, tmp_path, version):
    path = tmp_path / "model"
    published.write_folder(
        path, made.cells, labels=LABELS, n_outside=7, search=["cell_embedding"], version=version, deleted=[]
    )
    with scim.scimilarity.import_atlas(path, tmp_path / "a.scim") as other:
        obs = other.obs(where="in_cellsearch == True")
        assert obs["cell_id"].tolist() == [str(row) for row in range(300)]
        np.testing.assert_allclose(other.embeddings(np.arange(300)), made.cells.vectors(0), atol=1e-6)
        assert (obs["annotation_index"].dropna() >= 0).sum() == (made.annotated >= 0).sum()


def test_chosen_columns(folder, tmp_path):
    with scim.scimilarity.import_atlas(folder, tmp_path / "a.scim", columns=["tissue", "in_vivo"]) as atlas:
        assert atlas.columns == [
            "cell_id", "study", "label", "label_id", "annotation_index", "in_annotation", "in_cellsearch", "in_vivo",
            "reference_label", "tissue",
        ]  # fmt: skip


def test_reserved_names_get_a_prefix(folder, tmp_path):
    frame = pd.DataFrame({"index": np.arange(300), "study": "one", "label": "x", "cell_id": "y", "soma_joinid": 1})
    shutil.rmtree(folder / "cellsearch" / "cell_metadata")
    published.write_metadata(folder / "cellsearch" / "cell_metadata", frame, 300)
    with scim.scimilarity.import_atlas(folder, tmp_path / "a.scim") as atlas:
        assert {"metadata_label", "metadata_cell_id", "metadata_soma_joinid"} <= set(atlas.columns)


def test_names_with_the_prefix_stay_distinct(folder, tmp_path):
    write_frame(folder, pd.DataFrame({"study": ["one"] * 300, "label": "x", "metadata_label": "y"}))
    with scim.scimilarity.import_atlas(folder, tmp_path / "a.scim") as atlas:
        row = atlas.obs([0]).iloc[0]
        assert (row["metadata_label"], row["metadata_metadata_label"]) == ("x", "y")


def test_an_index_that_is_not_the_row_is_kept_beside_it(folder, tmp_path):
    write_frame(folder, pd.DataFrame({"index": np.arange(300)[::-1].copy(), "study": "one"}))
    with scim.scimilarity.import_atlas(folder, tmp_path / "a.scim") as atlas:
        obs = atlas.obs([0, 4])
        assert obs["cell_id"].tolist() == ["0", "4"]
        assert obs["metadata_index"].tolist() == [299, 295]


def test_categories_bytes_and_missing_truth(folder, tmp_path):
    row = np.arange(300)
    frame = pd.DataFrame({"study": ["one"] * 300})
    frame["in_vivo"] = pd.Categorical(np.array(["True", "False", "NA"])[row % 3])
    frame["sex"] = pd.Categorical(np.array(["male", "NA"])[row % 2])
    frame["truth"] = pd.array(np.where(row % 3 == 2, None, row % 3 == 1), dtype="boolean")
    frame["whole"] = pd.array(np.where(row % 4 == 0, None, row), dtype="Int64")
    write_frame(folder, frame)
    with scim.scimilarity.import_atlas(folder, tmp_path / "a.scim") as atlas:
        obs = atlas.obs(list(range(6)))
        assert obs["in_vivo"].tolist() == [True, False, pd.NA, True, False, pd.NA]
        assert obs["sex"].tolist() == ["male", None] * 3
        assert obs["truth"].tolist() == [False, True, pd.NA, False, True, pd.NA]
        assert obs["whole"].tolist() == [pd.NA, 1, 2, 3, pd.NA, 5]


def test_no_label_is_no_label(made, folder, tmp_path):
    lines = (folder / "annotation" / "reference_labels.tsv").read_text().split("\n")
    for i, word in enumerate(["NA", "unknown", "", "odd cell"]):
        lines[i] = f"{word}\t{lines[i].split(chr(9))[1]}"
    (folder / "annotation" / "reference_labels.tsv").write_text("\n".join(lines))
    with pytest.warns(ScimWarning, match=r"1 labels of the cells .* as \['odd cell'\]"):
        atlas = scim.scimilarity.import_atlas(folder, tmp_path / "a.scim")
    with atlas:
        obs = atlas.obs(where="in_annotation and annotation_index < 4").sort_values("annotation_index")
        assert obs["label"].tolist() == [None, None, None, "odd cell"]
        assert obs["reference_label"].tolist() == ["NA", "unknown", None, "odd cell"]


def test_missing_studies_and_no_index(folder, tmp_path):
    frame = pd.DataFrame({"study": np.where(np.arange(300) % 2, "NA", "one")})
    shutil.rmtree(folder / "cellsearch" / "cell_metadata")
    published.write_metadata(folder / "cellsearch" / "cell_metadata", frame, 300)
    with scim.scimilarity.import_atlas(folder, tmp_path / "a.scim") as atlas:
        obs = atlas.obs()
        assert obs["cell_id"].tolist()[:3] == ["0", "1", "2"]
        assert obs["study"].tolist()[:3] == ["one", "unknown", "one"]


def test_the_annotation_alone(made, folder, tmp_path):
    shutil.rmtree(folder / "cellsearch")
    with scim.scimilarity.import_atlas(folder, tmp_path / "a.scim") as atlas:
        assert atlas.n_obs == len(made.annotated)
        assert not atlas.obs(columns=["in_cellsearch"])["in_cellsearch"].any()


def test_the_search_alone(folder, tmp_path):
    shutil.rmtree(folder / "annotation")
    with scim.scimilarity.import_atlas(folder, tmp_path / "a.scim") as atlas:
        assert atlas.n_obs == 298
        assert atlas.obs(columns=["label"])["label"].isna().all()


def test_a_relative_path_is_of_the_current_folder(made, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # TileDB was used in another one before
    with scim.scimilarity.import_atlas("model", "a.scim", columns=["tissue"]) as atlas:
        assert atlas.n_obs > 290


def test_the_command(folder, tmp_path, capsys):
    assert _main.run(["import-scimilarity", str(folder), str(tmp_path / "a.scim"), "--columns", "tissue"]) == 0
    out = capsys.readouterr().out
    assert "not in the Cell Ontology, kept as they are: native cell" in out
    assert "made Atlas(" in out
    assert _main.run(["import-scimilarity", str(folder), str(tmp_path / "a.scim")]) == 1
