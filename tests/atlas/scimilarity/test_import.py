"""A published folder as an atlas: what is in it, in whichever form, and after an interruption."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import published
from scim._core.errors import FormatError
from scim.atlas.scimilarity import _cells
from scim.cli import _main

tiledb = pytest.importorskip("tiledb")

LABELS = ("type I pneumocyte", "T cell", "native cell")


@pytest.fixture
def small_steps(monkeypatch):
    """Several steps of few rows each."""
    monkeypatch.setattr(_cells, "STEP", 100)
    monkeypatch.setattr("scim.atlas.scimilarity._import.STEP", 100)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of 300 cells, two of them deleted, and 7 that only the annotation has."""
    path = tmp_path_factory.mktemp("published") / "model"
    cells = published.Cells(300, n_labels=len(LABELS))
    return published.write_folder(path, cells, labels=LABELS, n_outside=7, deleted=[11, 250])


@pytest.fixture
def folder(made, tmp_path):
    """A copy to change."""
    shutil.copytree(made.path, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def atlas(made, tmp_path_factory):
    with scim.atlas.from_scimilarity(made.path, tmp_path_factory.mktemp("atlas") / "a.scim") as atlas:
        yield atlas


def refused(folder, out, match, **how):
    with pytest.raises(FormatError, match=match):
        scim.atlas.from_scimilarity(folder, out, **how)


def expected_metadata(made):
    return published.metadata_block(
        made.cells.rows(0), made.cells.study(0), made.labels, annotated=made.cells.annotated(0), seed=made.cells.seed
    )


def same_obs(one, other):
    pd.testing.assert_frame_equal(one.obs(), other.obs())
    np.testing.assert_array_equal(one.embeddings(), other.embeddings())


def test_rows_are_those_of_the_metadata_without_the_deleted(made, atlas):
    obs = atlas.obs()
    rows = np.delete(np.arange(300), [11, 250])
    assert obs["cell_id"].tolist()[:298] == [str(row) for row in rows]
    theirs = expected_metadata(made).iloc[rows]
    assert obs["study"].tolist()[:298] == theirs["study"].tolist()
    for name in set(published.COLUMNS) - {"index", "study", "in_vivo"}:
        column = theirs[name].replace("NA", None)
        assert [x if pd.notna(x) else None for x in obs[name][:298]] == column.tolist()
    assert obs["in_vivo"].dtype == "boolean"
    assert obs["in_vivo"].tolist()[:298] == [text == "True" for text in theirs["in_vivo"]]
    assert obs["cell_line"].isna().any()


def test_embeddings_are_those_of_the_index(made, atlas):
    rows = np.delete(np.arange(300), [11, 250])
    ours = atlas.embeddings(np.arange(298))
    np.testing.assert_allclose(ours, made.cells.vectors(0)[rows], atol=1e-6)
    assert atlas.model_uid == scim.model.from_scimilarity(made.path).uid


def test_labelled_cells_meet_their_rows(made, atlas):
    obs = atlas.obs()
    expected = {row: line for line, row in enumerate(made.annotated.tolist()) if row not in (-1, 11, 250)}
    found = obs[obs["in_annotation"] & obs["in_cellsearch"]]
    assert dict(zip(found["cell_id"].astype(int), found["annotation_index"], strict=True)) == expected
    numbers = made.cells.label(0)
    assert found["reference_label"].tolist() == [LABELS[numbers[int(row)]] for row in found["cell_id"]]
    others = obs[~obs["in_annotation"]]
    assert others[["label", "label_id", "reference_label", "annotation_index"]].isna().all().all()


def test_labels_have_the_names_of_today(atlas):
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


def test_it_annotates_and_searches(made, atlas):
    found = atlas.index.query(made.cells.vectors(0)[[3]], 2, where="in_cellsearch == True")
    assert found.ids[0, 0] == 3
    assert found.distances[0, 0] < 1e-6


def test_it_is_whole(atlas):
    assert scim.atlas.verify(atlas.uri) == []
    assert len(atlas.info()["versions"]) == 1


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_the_array_of_embeddings_alone(made, atlas, tmp_path, version):
    path = tmp_path / "model"
    published.write_folder(
        path, made.cells, labels=LABELS, n_outside=7, search=["cell_embedding"], version=version, deleted=[]
    )
    with scim.atlas.from_scimilarity(path, tmp_path / "a.scim") as other:
        obs = other.obs(where="in_cellsearch == True")
        assert obs["cell_id"].tolist() == [str(row) for row in range(300)]
        np.testing.assert_allclose(other.embeddings(np.arange(300)), made.cells.vectors(0), atol=1e-6)
        assert (obs["annotation_index"].dropna() >= 0).sum() == (made.annotated >= 0).sum()


def test_chosen_columns(folder, tmp_path):
    with scim.atlas.from_scimilarity(folder, tmp_path / "a.scim", columns=["tissue", "in_vivo"]) as atlas:
        assert atlas.columns == [
            "cell_id", "study", "label", "label_id", "annotation_index", "in_annotation", "in_cellsearch", "in_vivo",
            "reference_label", "tissue",
        ]  # fmt: skip


def test_a_column_that_is_not_there(folder, tmp_path):
    with pytest.raises(KeyError, match="no column \\['organ'\\]"):
        scim.atlas.from_scimilarity(folder, tmp_path / "a.scim", columns=["organ"])
    assert not (tmp_path / "a.scim").exists()


def test_names_that_the_atlas_has_itself_get_another(folder, tmp_path):
    frame = pd.DataFrame({"index": np.arange(300), "study": "one", "label": "x", "cell_id": "y", "soma_joinid": 1})
    shutil.rmtree(folder / "cellsearch" / "cell_metadata")
    published.write_metadata(folder / "cellsearch" / "cell_metadata", frame, 300)
    with scim.atlas.from_scimilarity(folder, tmp_path / "a.scim") as atlas:
        assert {"metadata_label", "metadata_cell_id", "metadata_soma_joinid"} <= set(atlas.columns)


def test_names_that_begin_as_ours_stay_apart(folder, tmp_path):
    write_frame(folder, pd.DataFrame({"study": ["one"] * 300, "label": "x", "metadata_label": "y"}))
    with scim.atlas.from_scimilarity(folder, tmp_path / "a.scim") as atlas:
        row = atlas.obs([0]).iloc[0]
        assert (row["metadata_label"], row["metadata_metadata_label"]) == ("x", "y")


def write_frame(folder, frame):
    shutil.rmtree(folder / "cellsearch" / "cell_metadata")
    published.write_metadata(folder / "cellsearch" / "cell_metadata", frame, len(frame))


def test_an_index_that_is_not_the_row_is_kept_beside_it(folder, tmp_path):
    write_frame(folder, pd.DataFrame({"index": np.arange(300)[::-1].copy(), "study": "one"}))
    with scim.atlas.from_scimilarity(folder, tmp_path / "a.scim") as atlas:
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
    with scim.atlas.from_scimilarity(folder, tmp_path / "a.scim") as atlas:
        obs = atlas.obs(list(range(6)))
        assert obs["in_vivo"].tolist() == [True, False, pd.NA, True, False, pd.NA]
        assert obs["sex"].tolist() == ["male", None] * 3
        assert obs["truth"].tolist() == [False, True, pd.NA, False, True, pd.NA]
        assert obs["whole"].tolist() == [pd.NA, 1, 2, 3, pd.NA, 5]


def test_a_column_of_times_is_refused_unless_left_out(folder, tmp_path):
    frame = pd.DataFrame({"study": ["one"] * 300, "sex": "male"})
    frame["day"] = pd.Series(["2026-01-01"] * 300).astype("datetime64[ns]")
    write_frame(folder, frame)
    refused(folder, tmp_path / "a.scim", "column 'day' is timestamp.*see columns=")
    with scim.atlas.from_scimilarity(folder, tmp_path / "a.scim", columns=["sex"]) as atlas:
        assert atlas.obs([0])["sex"].tolist() == ["male"]


def test_no_label_is_no_label(made, folder, tmp_path):
    lines = (folder / "annotation" / "reference_labels.tsv").read_text().split("\n")
    for i, word in enumerate(["NA", "unknown", "", "odd cell"]):
        lines[i] = f"{word}\t{lines[i].split(chr(9))[1]}"
    (folder / "annotation" / "reference_labels.tsv").write_text("\n".join(lines))
    with scim.atlas.from_scimilarity(folder, tmp_path / "a.scim") as atlas:
        obs = atlas.obs(where="in_annotation and annotation_index < 4").sort_values("annotation_index")
        assert obs["label"].tolist() == [None, None, None, "odd cell"]
        assert obs["reference_label"].tolist() == ["NA", "unknown", None, "odd cell"]


def test_missing_studies_and_no_index(folder, tmp_path):
    frame = pd.DataFrame({"study": np.where(np.arange(300) % 2, "NA", "one")})
    shutil.rmtree(folder / "cellsearch" / "cell_metadata")
    published.write_metadata(folder / "cellsearch" / "cell_metadata", frame, 300)
    with scim.atlas.from_scimilarity(folder, tmp_path / "a.scim") as atlas:
        obs = atlas.obs()
        assert obs["cell_id"].tolist()[:3] == ["0", "1", "2"]
        assert obs["study"].tolist()[:3] == ["one", "unknown", "one"]


def test_the_annotation_alone(made, folder, tmp_path):
    shutil.rmtree(folder / "cellsearch")
    with scim.atlas.from_scimilarity(folder, tmp_path / "a.scim") as atlas:
        assert atlas.n_obs == len(made.annotated)
        assert not atlas.obs(columns=["in_cellsearch"])["in_cellsearch"].any()


def test_the_search_alone(folder, tmp_path):
    shutil.rmtree(folder / "annotation")
    with scim.atlas.from_scimilarity(folder, tmp_path / "a.scim") as atlas:
        assert atlas.n_obs == 298
        assert atlas.obs(columns=["label"])["label"].isna().all()


def test_a_model_alone(folder, tmp_path):
    shutil.rmtree(folder / "annotation")
    shutil.rmtree(folder / "cellsearch")
    refused(folder, tmp_path / "a.scim", "has a model but no cells")
    assert not (tmp_path / "a.scim").exists()


def test_no_embeddings(folder, tmp_path):
    (folder / "cellsearch" / "full_kNN.bin").unlink()
    shutil.rmtree(folder / "cellsearch" / "cell_embedding")
    refused(folder, tmp_path / "a.scim", "has no embeddings")


def test_a_folder_that_is_no_index_of_tiledb(folder, tmp_path):
    (folder / "cellsearch" / "full_kNN.bin").unlink()
    shutil.rmtree(folder / "cellsearch" / "cell_embedding")
    (folder / "cellsearch" / "full_kNN.bin").mkdir()
    refused(folder, tmp_path / "a.scim", "must have 'shuffled_vectors' and 'shuffled_vector_ids'")


def test_embeddings_of_another_number_of_cells(folder, tmp_path):
    (folder / "cellsearch" / "full_kNN.bin").unlink()
    shutil.rmtree(folder / "cellsearch" / "cell_embedding")
    published.write_embedding(folder / "cellsearch" / "cell_embedding", np.ones((299, 16), np.float32), 299, 16)
    refused(folder, tmp_path / "a.scim", "has 299 rows of 16 values float32.*expected 300 rows")


def test_metadata_of_fewer_cells_than_the_index(folder, tmp_path):
    shutil.rmtree(folder / "cellsearch" / "cell_metadata")
    published.write_metadata(folder / "cellsearch" / "cell_metadata", pd.DataFrame({"study": ["a"] * 200}), 200)
    refused(folder, tmp_path / "a.scim", r"has an element \d+, but there are 200 cells")


@pytest.mark.parametrize("name", ["cell_metadata", "cell_embedding"])
def test_arrays_that_are_none(folder, tmp_path, name):
    (folder / "cellsearch" / "full_kNN.bin").unlink()
    shutil.rmtree(folder / "cellsearch" / name)
    (folder / "cellsearch" / name).mkdir()
    refused(folder, tmp_path / "a.scim", f"{name}' cannot be read as a TileDB array")


def test_a_damaged_array_is_named_beside_others(folder, tmp_path):
    (folder / "cellsearch" / "full_kNN.bin").unlink()
    [file] = (folder / "cellsearch" / "cell_metadata" / "__fragments").glob("*/a1_var.tdb")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    refused(folder, tmp_path / "a.scim", "cell_metadata' cannot be read as a TileDB array")


@pytest.mark.parametrize("form", ["full_kNN.bin", "cell_embedding"])
@pytest.mark.parametrize("last", [1 << 28, (1 << 40) - 1])
def test_an_array_that_claims_to_be_huge(folder, tmp_path, form, last):
    """Its first and its last row were written, and none between: no memory is asked for them, and none is looked at."""
    path = folder / "cellsearch" / "cell_metadata"
    shutil.rmtree(path)
    huge(path, last)
    if form == "cell_embedding":
        (folder / "cellsearch" / "full_kNN.bin").unlink()
        shutil.rmtree(folder / "cellsearch" / form)
        huge(folder / "cellsearch" / form, last, dim=16)
    refused(folder, tmp_path / "a.scim", "at most 2,147,483,648|do not belong together|claims .* bytes of embeddings")


def huge(path, last, dim=None):
    """Write an array of one column of text, or of `dim` numbers a row, with nothing between its first and last row."""
    dims = [tiledb.Dim("__tiledb_rows", domain=(0, (1 << 40) + 9), tile=10, dtype=np.int64)]
    dims += [] if dim is None else [tiledb.Dim("y", domain=(0, dim - 1), tile=dim, dtype=np.int64)]
    attribute = tiledb.Attr("study", dtype=np.float32)
    tiledb.Array.create(str(path), tiledb.ArraySchema(domain=tiledb.Domain(*dims), attrs=[attribute]))
    with tiledb.open(str(path), "w") as array:
        for row in (0, last):
            array[row : row + 1] = np.zeros((1,) if dim is None else (1, dim), np.float32)


def test_names_with_tricks_are_only_text(folder, tmp_path):
    trick = "../../../../tmp/scim-was-here\x00"
    frame = pd.DataFrame({"index": np.arange(300), "study": trick.rstrip("\x00"), "../x": "<script>", "a b`c": "é"})
    shutil.rmtree(folder / "cellsearch" / "cell_metadata")
    published.write_metadata(folder / "cellsearch" / "cell_metadata", frame, 300)
    before = {path for path in tmp_path.rglob("*") if "a.scim" not in path.parts}
    with scim.atlas.from_scimilarity(folder, tmp_path / "a.scim") as atlas:
        assert atlas.obs()["study"].iloc[0] == "../../../../tmp/scim-was-here"
        assert atlas.obs()["../x"].iloc[0] == "<script>"
    assert {path for path in tmp_path.rglob("*") if "a.scim" not in path.parts} == before


def test_nothing_in_the_folder_is_changed(folder, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    scim.atlas.from_scimilarity(folder, tmp_path / "a.scim").close()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.usefixtures("small_steps")
def test_in_steps_it_is_the_same(folder, atlas, tmp_path):
    with scim.atlas.from_scimilarity(folder, tmp_path / "a.scim") as other:
        same_obs(atlas, other)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("n_steps", [1, 2, 3, 4])
def test_after_an_error_it_goes_on(folder, atlas, tmp_path, monkeypatch, n_steps):
    append, steps = scim.atlas.Atlas._append, []

    def failing(self, *arguments, **how):
        if len(steps) == n_steps:
            msg = "the disk is full"
            raise OSError(msg)
        steps.append(append(self, *arguments, **how))

    with monkeypatch.context() as patched:
        patched.setattr(scim.atlas.Atlas, "_append", failing)
        patched.setattr(scim.atlas.Atlas, "build_index", failing)  # of the last round nothing else fails
        with pytest.raises(OSError, match="the disk is full"):
            scim.atlas.from_scimilarity(folder, tmp_path / "a.scim")
    again = []
    monkeypatch.setattr(
        scim.atlas.Atlas, "_append", lambda self, *a, **how: (again.append(1), append(self, *a, **how))[1]
    )
    with scim.atlas.from_scimilarity(folder, tmp_path / "a.scim") as other:
        same_obs(atlas, other)
    assert len(again) == 4 - n_steps  # 300 rows and the lines beside them, in steps of 100


@pytest.mark.usefixtures("small_steps")
def test_with_other_columns_it_does_not_go_on(folder, atlas, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(scim.atlas.Atlas, "build_index", full)
        with pytest.raises(OSError, match="the disk is full"):
            scim.atlas.from_scimilarity(folder, tmp_path / "a.scim", columns=["tissue"])
    with pytest.raises(ValueError, match=r"without \['disease'\]; ask for the same columns"):
        scim.atlas.from_scimilarity(folder, tmp_path / "a.scim", columns=["tissue", "disease"])
    with scim.atlas.from_scimilarity(folder, tmp_path / "a.scim", columns=["tissue"]) as other:
        pd.testing.assert_frame_equal(other.obs(columns=["tissue", "label"]), atlas.obs(columns=["tissue", "label"]))


def full(*_, **__):
    msg = "the disk is full"
    raise OSError(msg)


def test_the_last_step_too_may_be_interrupted(folder, atlas, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(scim.atlas.Atlas, "vacuum", full)
        with pytest.raises(OSError, match="the disk is full"):
            scim.atlas.from_scimilarity(folder, tmp_path / "a.scim")
    with scim.atlas.from_scimilarity(folder, tmp_path / "a.scim") as other:
        same_obs(atlas, other)
        assert len(other.info()["versions"]) == 1


@pytest.mark.usefixtures("small_steps")
def test_an_atlas_begun_from_another_folder_is_not_gone_on_with(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(scim.atlas.Atlas, "build_index", lambda _: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            scim.atlas.from_scimilarity(folder, tmp_path / "a.scim")
    other = tmp_path / "other"
    published.write_folder(other, published.Cells(300, n_labels=3, n_studies=9, spread=0.9), labels=LABELS)
    refused(other, tmp_path / "a.scim", "it was begun from another folder")
    with scim.atlas.from_scimilarity(other, tmp_path / "a.scim", overwrite=True) as atlas:
        assert atlas.n_obs == 300


def test_an_atlas_that_is_whole_is_not_overwritten(folder, tmp_path):
    scim.atlas.from_scimilarity(folder, tmp_path / "a.scim").close()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        scim.atlas.from_scimilarity(folder, tmp_path / "a.scim")


def test_a_relative_path_is_of_the_folder_of_today(made, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # TileDB was used in another one before
    with scim.atlas.from_scimilarity("model", "a.scim", columns=["tissue"]) as atlas:
        assert atlas.n_obs > 290


def test_the_command(folder, tmp_path, capsys):
    assert _main.run(["import-scimilarity", str(folder), str(tmp_path / "a.scim"), "--columns", "tissue"]) == 0
    out = capsys.readouterr().out
    assert "not in the Cell Ontology, kept as they are: native cell" in out
    assert "made Atlas(" in out
    assert _main.run(["import-scimilarity", str(folder), str(tmp_path / "a.scim")]) == 1


def test_without_tiledb_it_says_what_to_install(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tiledb", None)
    with pytest.raises(ImportError, match=r'pip install "scim-atlas\[scimilarity\]"'):
        scim.atlas.from_scimilarity(folder, tmp_path / "a.scim")


CHILD = """
import sys, scim
from scim.atlas.scimilarity import _cells, _import
_cells.STEP = _import.STEP = 20
scim.atlas.from_scimilarity(sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
def test_killed_again_and_again_it_ends_the_same(folder, atlas, tmp_path):
    """SIGKILL at whatever point: each run goes on, and the last has what one run in peace has."""
    out, kills = tmp_path / "a.scim", 0
    for wait in (0.1, 0.3, 0.5, 0.8, 1.2):
        process = subprocess.Popen([sys.executable, "-c", CHILD, str(folder), str(out)], stderr=subprocess.DEVNULL)
        while process.poll() is None and not (out / "atlas.json").exists():
            time.sleep(0.01)
        time.sleep(wait)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 1
    done = json.loads((out / "atlas.json").read_text())
    if done["space"]["index"] is None:
        subprocess.run([sys.executable, "-c", CHILD, str(folder), str(out)], check=True, stderr=subprocess.DEVNULL)
    with scim.atlas.open(out) as other:
        same_obs(atlas, other)
    assert scim.atlas.verify(out) == []
