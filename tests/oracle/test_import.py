"""The atlas has the content that the package wrote; the folders of the tests equal those of the package."""

from __future__ import annotations

import filecmp

import numpy as np
import pandas as pd
import pytest
import tiledb

import scim
from helpers import published
from oracle.compare import as_ours, plain


@pytest.fixture
def metadata(trained):
    with tiledb.open(str(trained / "cellsearch" / "cell_metadata")) as array:
        return array.df[:]


def test_metadata_is_what_the_package_wrote(metadata, imported):
    with scim.atlas.open(imported()) as atlas:
        obs = atlas.obs()
    assert obs["cell_id"].tolist() == [str(i) for i in metadata["index"]]
    assert obs.index.tolist() == list(range(len(metadata)))
    columns = [name for name in metadata if name != "index"]
    ours, theirs = obs[columns].reset_index(drop=True), as_ours(metadata[columns])
    pd.testing.assert_frame_equal(plain(ours), plain(theirs), check_dtype=False, check_exact=True)
    assert obs["in_vivo"].dtype == "boolean"
    assert obs["disease"].isna().any()


def test_labels_are_those_of_the_annotation(trained, metadata, imported):
    lines = (trained / "annotation" / "reference_labels.tsv").read_text().splitlines()
    label, study = np.array([line.split("\t") for line in lines], object).T
    with scim.atlas.open(imported()) as atlas:
        obs = atlas.obs()
    there = obs[obs["in_annotation"]]
    assert obs["in_cellsearch"].all()
    assert sorted(there["annotation_index"]) == list(range(len(lines)))
    which = there["annotation_index"].astype(int)
    assert there["reference_label"].tolist() == label[which].tolist()
    assert there["study"].tolist() == study[which].tolist()
    # The trained cells were written in the order of their rows.
    assert (np.diff(which) > 0).all()
    assert there["author_label"].tolist() == label[which].tolist()
    terms = [scim.ontology.term_id(name) for name in label[which]]
    assert there["label_id"].tolist() == terms
    assert there["label"].tolist() == [scim.ontology.term_name(term) for term in terms]
    renamed = (there["label"] != there["reference_label"]).sum()
    assert 0 < renamed < len(there)
    assert obs.loc[~obs["in_annotation"], ["label", "label_id", "reference_label"]].isna().all(axis=None)


def test_deleted_cells_stay_out(trained, imported):
    n = len((trained / "annotation" / "reference_labels.tsv").read_text().splitlines())
    with scim.atlas.open(imported("model_deleted")) as atlas:
        obs = atlas.obs()
    searched, labelled = obs[obs["in_cellsearch"]], obs[obs["in_annotation"]]
    assert not (searched["cell_id"].astype(int) % 7 == 0).any()
    assert sorted(labelled["annotation_index"]) == [i for i in range(n) if i % 7]
    only = obs[~obs["in_cellsearch"]]
    assert only["cell_id"].tolist() == [f"annotation-{i}" for i in only["annotation_index"]]
    assert len(only) > 0  # their elements in the other index are deleted


def test_index_files_of_the_tests_are_hnswlibs(run_python, tmp_path):
    """What published.write_hnsw wrote, hnswlib loads, and saves again as the same bytes."""
    cells = published.Cells(500, dim=24, n_labels=3)
    vectors = next(cells.all_vectors())
    labels = np.random.default_rng(0).permutation(500) + 1000
    ours, again = tmp_path / "ours.bin", tmp_path / "again.bin"
    published.write_hnsw(ours, vectors, labels=labels, deleted=[1003], m=5, max_elements=900, ef_construction=77)
    code = f"""
import hnswlib
index = hnswlib.Index(space="cosine", dim=24)
index.load_index({str(ours)!r}, max_elements=900)
assert index.get_current_count() == 500 and index.get_max_elements() == 900 and index.M == 5
index.save_index({str(again)!r})
index.unmark_deleted(1003)  # raises for an element that is not deleted
"""
    run_python("-c", code)
    assert filecmp.cmp(ours, again, shallow=False)


def test_folders_of_the_tests_are_the_packages(run_python, tmp_path):
    """A folder that published.write_folder wrote is one to the package, with all its cells."""
    folder = published.write_folder(tmp_path / "model", published.Cells(300, block=120), n_outside=7)
    code = f"""
from scimilarity import CellAnnotation, CellQuery
import numpy as np
one, two = CellAnnotation({str(folder.path)!r}), CellQuery({str(folder.path)!r})
assert len(one.idx2label) == one.knn.get_current_count() == {len(folder.annotated)}
assert len(one.idx2study) == {len(folder.annotated)}
assert two.cell_metadata.shape == (300, 25) and two.knn.get_current_count() == 300
kept = np.array(two.knn.get_items(range(300)))
assert np.abs(kept - two.get_precomputed_embeddings(range(300))).max() < 1e-6
assert (two.cell_metadata["index"] == range(300)).all()
"""
    run_python("-c", code)
