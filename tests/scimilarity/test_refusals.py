"""Incomplete, damaged and malicious folders, and invalid arguments, are refused."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import published
from helpers.folders import refused, write_frame
from scim._core import ScimWarning
from scim.scimilarity._tiledb import open_reader

tiledb = pytest.importorskip("tiledb")


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
    refused(folder, tmp_path / "a.scim", "has 299 rows of 16 values.*float32.*expected 300 rows")


def test_metadata_of_fewer_cells_than_the_index(folder, tmp_path):
    shutil.rmtree(folder / "cellsearch" / "cell_metadata")
    published.write_metadata(folder / "cellsearch" / "cell_metadata", pd.DataFrame({"study": ["a"] * 200}), 200)
    refused(folder, tmp_path / "a.scim", r"has an element \d+, but there are 200 cells")


@pytest.mark.parametrize("name", ["cell_metadata", "cell_embedding"])
def test_folders_that_are_not_arrays(folder, tmp_path, name):
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
    """Its first and its last row were written, and none between: they take no memory, and are not scanned."""
    path = folder / "cellsearch" / "cell_metadata"
    shutil.rmtree(path)
    huge(path, last)
    if form == "cell_embedding":
        (folder / "cellsearch" / "full_kNN.bin").unlink()
        shutil.rmtree(folder / "cellsearch" / form)
        huge(folder / "cellsearch" / form, last, dim=16)
    refused(folder, tmp_path / "a.scim", "at most 2,147,483,648|do not belong together|bytes of embeddings in")


def huge(path, last, dim=None):
    """Write an array of one column of text, or of `dim` numbers a row, with nothing between its first and last row."""
    dims = [tiledb.Dim("__tiledb_rows", domain=(0, (1 << 40) + 9), tile=10, dtype=np.int64)]
    dims += [] if dim is None else [tiledb.Dim("y", domain=(0, dim - 1), tile=dim, dtype=np.int64)]
    attribute = tiledb.Attr("study", dtype=np.float32)
    tiledb.Array.create(str(path), tiledb.ArraySchema(domain=tiledb.Domain(*dims), attrs=[attribute]))
    with tiledb.open(str(path), "w") as array:
        for row in (0, last):
            array[row : row + 1] = np.zeros((1,) if dim is None else (1, dim), np.float32)


def test_studies_that_are_numbers(folder, tmp_path):
    write_frame(folder, pd.DataFrame({"study": np.arange(300) // 100, "sex": "male"}))
    with scim.scimilarity.import_atlas(folder, tmp_path / "a.scim") as atlas:
        assert atlas.obs(range(5))["study"].tolist() == ["0"] * 5


def test_labels_that_the_model_does_not_know(folder, tmp_path):
    file = folder / "annotation" / "reference_labels.tsv"
    file.write_text(file.read_text().replace("T cell", "T ce", 1))
    with pytest.warns(ScimWarning, match=r"1 labels of the cells .* as \['T ce'\]: one of"):
        scim.scimilarity.import_atlas(folder, tmp_path / "a.scim").close()


def test_a_damaged_fragment_that_ends_the_process(folder, tmp_path, monkeypatch):
    """As a damaged file can make the library do, in the process that reads it."""
    monkeypatch.setattr("scim.scimilarity._tiledb._START", "import os; input(); os.abort()")
    monkeypatch.setattr("scim.scimilarity._cells.open_reader", open_reader)
    refused(folder, tmp_path / "a.scim", "cell_metadata' was not read: the process that read it ended")
    assert not (tmp_path / "a.scim").exists()


def test_malicious_names_are_only_text(folder, tmp_path):
    trick = "../../../../tmp/scim-was-here\x00"
    frame = pd.DataFrame({"index": np.arange(300), "study": trick.rstrip("\x00"), "../x": "<script>", "a b`c": "é"})
    shutil.rmtree(folder / "cellsearch" / "cell_metadata")
    published.write_metadata(folder / "cellsearch" / "cell_metadata", frame, 300)
    before = {path for path in tmp_path.rglob("*") if "a.scim" not in path.parts}
    with scim.scimilarity.import_atlas(folder, tmp_path / "a.scim") as atlas:
        assert atlas.obs()["study"].iloc[0] == "../../../../tmp/scim-was-here"
        assert atlas.obs()["../x"].iloc[0] == "<script>"
    assert {path for path in tmp_path.rglob("*") if "a.scim" not in path.parts} == before


def test_nothing_in_the_folder_is_changed(folder, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    scim.scimilarity.import_atlas(folder, tmp_path / "a.scim").close()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_column_that_is_not_there(folder, tmp_path):
    with pytest.raises(KeyError, match="no column \\['organ'\\]"):
        scim.scimilarity.import_atlas(folder, tmp_path / "a.scim", columns=["organ"])
    assert not (tmp_path / "a.scim").exists()


def test_a_column_of_times_is_refused_unless_left_out(folder, tmp_path):
    frame = pd.DataFrame({"study": ["one"] * 300, "sex": "male"})
    frame["day"] = pd.Series(["2026-01-01"] * 300).astype("datetime64[ns]")
    write_frame(folder, frame)
    refused(folder, tmp_path / "a.scim", "column 'day' is timestamp.*see columns=")
    with scim.scimilarity.import_atlas(folder, tmp_path / "a.scim", columns=["sex"]) as atlas:
        assert atlas.obs([0])["sex"].tolist() == ["male"]


def test_without_tiledb_the_error_names_the_extra(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("scim.scimilarity._cells.open_reader", open_reader)
    monkeypatch.setitem(sys.modules, "tiledb", None)
    with pytest.raises(ImportError, match=r'pip install "scim-atlas\[scimilarity\]"'):
        scim.scimilarity.import_atlas(folder, tmp_path / "a.scim")
