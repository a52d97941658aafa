from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tiledbsoma

import scim
from helpers import fakes
from scim._core import FormatError


def test_appended_cells_are_stored(atlas):
    assert atlas.n_obs == 150
    assert atlas.columns == ["cell_id", "study", "label", "label_id", "age", "n", "note", "primary", "tissue"]
    obs = atlas.obs()
    one = fakes.cells(90, seed=2).obs
    assert obs.index.tolist() == list(range(150))
    assert obs["cell_id"][:90].tolist() == one.index.tolist()
    assert obs["study"].tolist() == ["one"] * 90 + ["two"] * 60
    assert obs["label"][:90].tolist() == one["cell_type"].tolist()
    assert obs["tissue"][:90].tolist() == one["tissue"].tolist()
    np.testing.assert_array_equal(obs["age"][:90].to_numpy(), one["age"].to_numpy())
    assert obs["n"][:90].tolist() == list(range(90))
    assert obs.dtypes.astype(str).to_dict()["n"] == "Int64"
    assert obs["primary"][:90].tolist() == one["primary"].tolist()
    # columns that a study lacks are missing values
    assert obs["n"][90:].isna().all()
    assert obs["note"][:90].isna().all()
    assert obs["note"][91] == "note 1"


def test_labels_get_their_ontology_ids(atlas):
    codes, names, ids = atlas.labels
    expected = {"T cell": "CL:0000084", "B cell": "CL:0000236", "classical monocyte": "CL:0000860"}
    assert dict(zip(names, ids, strict=True)) == expected
    assert (codes[90::10] == -1).all()
    assert (codes == -1).sum() == 6


def test_embeddings_are_those_of_the_model(atlas):
    adata = fakes.cells(90, seed=2)
    scim.tl.embed(adata, atlas)
    np.testing.assert_array_equal(atlas.embeddings()[:90], adata.obsm["X_scim"])
    np.testing.assert_allclose(np.linalg.norm(atlas.embeddings(), axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("ids", [[], [3], [149, 0, 7, 7], list(range(150)), np.arange(20)[::-1]])
def test_rows_have_the_order_of_the_ids(atlas, ids):
    assert atlas.obs(ids).index.tolist() == list(ids)
    np.testing.assert_array_equal(atlas.embeddings(ids), atlas.embeddings()[np.asarray(ids, dtype=int)])
    pd.testing.assert_frame_equal(atlas.obs(ids), atlas.obs().loc[list(ids)])


def test_where_and_columns(atlas):
    rows = atlas.obs(where="tissue == 'lung' and study == 'two'", columns=["note", "tissue"])
    everything = atlas.obs()
    expected = everything.query("tissue == 'lung' and study == 'two'")
    assert rows.columns.tolist() == ["note", "tissue"]
    assert rows.index.tolist() == expected.index.tolist()
    assert atlas.select("age == None").tolist() == everything.index[everything["age"].isna()].tolist()


def test_tiledbsoma_opens_the_store(atlas_path):
    with tiledbsoma.open(str(atlas_path / "soma")) as experiment:
        assert experiment.obs.count == 150
        assert experiment.ms["RNA"].obsm["X_scim"].shape == (150, 16)
        assert experiment.ms["RNA"].var.count == fakes.cells(3).n_vars


def test_each_cell_is_its_own_nearest_neighbour(atlas):
    found = atlas.index.query(atlas.embeddings(), 1)
    np.testing.assert_allclose(found.distances, 0, atol=1e-6)


def test_the_label_radius_covers_nearly_all_cells(atlas):
    X, codes, study = atlas.embeddings(), atlas.labels.codes, (atlas.obs()["study"] == "two").to_numpy()
    alike = (codes[:, None] == codes) & (study[:, None] != study)
    nearest = np.where(alike, 1 - X @ X.T, np.inf).min(axis=1)[codes >= 0]
    assert atlas.label_radius == pytest.approx(np.quantile(nearest, 0.995), rel=1e-3)


def test_without_labels_the_radius_is_about_the_nearest_cell(writable):
    writable.append(fakes.cells(30, seed=4), study="a")
    writable.build_index()
    X = writable.embeddings()
    nearest = np.where(np.eye(30, dtype=bool), np.inf, 1 - X @ X.T).min(axis=1)
    assert writable.label_radius == pytest.approx(np.quantile(nearest, 0.995), rel=1e-3)


def test_the_atlas_can_be_moved_and_read_only(atlas_path, tmp_path):
    import shutil

    moved = shutil.copytree(atlas_path, tmp_path / "elsewhere" / "moved.scim")
    for path in [moved, *moved.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    with scim.atlas.open(moved) as atlas:
        assert atlas.obs([0]).shape == (1, 9)
        assert atlas.model.latent_dim == 16
        assert len(atlas.index.query(atlas.embeddings([0]), 3).ids) == 1


def test_info_adds_up(atlas):
    info = atlas.info()
    assert info["studies"] == {"one": 90, "two": 60}
    assert sum(info["labels"].values()) + info["unlabelled"] == info["cells"] == 150
    folders = {"atlas.json", "commits", "expression", "index", "ledger", "model", "names", "samples", "soma"}
    assert set(info["bytes"]) == folders
    assert info["genes"] == fakes.cells(3).n_vars
    assert info["index"]["parts"] == {"index/v000004": 150}
    assert [version["cells"] for version in info["versions"]] == [150, 150, 90, 0]
    assert info["bytes"]["atlas.json"] == (atlas.path / "atlas.json").stat().st_size


def test_paths_that_are_not_an_atlas_raise(tmp_path, atlas_path):
    with pytest.raises(FileNotFoundError, match="No atlas at .*nowhere.*no such folder"):
        scim.atlas.open(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="is not a scim atlas: it has no 'atlas.json'"):
        scim.atlas.open(tmp_path)
    with pytest.raises(ValueError, match="mode must be 'r' or 'w', got 'a'"):
        scim.atlas.open(atlas_path, mode="a")
    with pytest.raises(FileExistsError, match="exists already; pass overwrite=True"):
        scim.atlas.create(atlas_path, model=fakes.tiny_model())


@pytest.mark.parametrize("part", ["soma", "soma/obs", "soma/ms/RNA/obsm/X_scim"])
def test_a_damaged_store_is_named(tmp_path, atlas_path, part):
    import shutil

    copy = shutil.copytree(atlas_path, tmp_path / "copy.scim")
    shutil.rmtree(copy / part)

    def use():
        with scim.atlas.open(copy) as atlas:
            atlas.obs()
            atlas.embeddings()

    with pytest.raises(FormatError, match="verify"):
        use()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"version": 2', '"version": 99', "format version 99, this scim reads 2; upgrade scim-atlas"),
        ('"version": 2', '"version": 1', "format version 1, this scim reads 2; make a new atlas"),
        ('"scim-atlas"', '"something"', "does not describe a scim atlas"),
        ('"uid"', '"diu"', "has changed since it was written"),
        ('"n_obs": 150', '"n_obs": 149', "has changed since it was written"),
        ("{", "", "is not readable JSON"),
    ],
)
def test_damaged_manifests(tmp_path, atlas_path, old, new, message):
    (tmp_path / "atlas.json").write_text((atlas_path / "atlas.json").read_text().replace(old, new, 1))
    with pytest.raises(FormatError, match=message):
        scim.atlas.open(tmp_path)


def test_another_model_raises(tmp_path, atlas_path):
    import shutil

    copy = shutil.copytree(atlas_path, tmp_path / "copy.scim")
    fakes.tiny_model(seed=5).save(copy / "model", overwrite=True)
    with (
        scim.atlas.open(copy) as atlas,
        pytest.raises(FormatError, match="model.config.json has changed since it was committed"),
    ):
        _ = atlas.model


def test_unknown_ids_columns_and_closed_atlases(atlas_path):
    atlas = scim.atlas.open(atlas_path)
    with pytest.raises(KeyError, match=r"Ids run from 0 to 149; not in the atlas: \[150, -1\]"):
        atlas.obs([150, 3, -1])
    with pytest.raises(TypeError, match="Expected whole numbers"):
        atlas.embeddings([0.5])
    with pytest.raises(KeyError, match=r"no column \['nope'\]"):
        atlas.obs(columns=["nope"])
    with pytest.raises(ValueError, match="got both"):
        atlas.obs([1], where="n > 3")
    atlas.close()
    atlas.close()
    with pytest.raises(ValueError, match="is closed"):
        atlas.obs()
