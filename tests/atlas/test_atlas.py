from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tiledbsoma

import scim
from helpers import fakes
from scim._core.errors import FormatError
from scim.atlas._manifest import read_manifest


@pytest.fixture
def atlas(atlas_path):
    with scim.atlas.open(atlas_path) as opened:
        yield opened


@pytest.fixture
def writable(tmp_path):
    with scim.atlas.create(tmp_path / "w.scim", model=fakes.tiny_model()) as opened:
        yield opened


def test_what_was_appended_is_there(atlas):
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
    # columns that a study did not have are missing there
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
def test_rows_come_in_the_order_asked_for(atlas, ids):
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


def test_the_index_finds_each_cell_itself(atlas):
    found = atlas.index.query(atlas.embeddings(), 1)
    np.testing.assert_allclose(found.distances, 0, atol=1e-6)


def test_reach_covers_nearly_all_cells(atlas):
    X, codes, study = atlas.embeddings(), atlas.labels.codes, (atlas.obs()["study"] == "two").to_numpy()
    alike = (codes[:, None] == codes) & (study[:, None] != study)
    nearest = np.where(alike, 1 - X @ X.T, np.inf).min(axis=1)[codes >= 0]
    assert atlas.reach == pytest.approx(np.quantile(nearest, 0.995), rel=1e-3)


def test_without_labels_reach_is_about_the_nearest_cell(writable):
    writable.append(fakes.cells(30, seed=4), study="a")
    writable.build_index()
    X = writable.embeddings()
    nearest = np.where(np.eye(30, dtype=bool), np.inf, 1 - X @ X.T).min(axis=1)
    assert writable.reach == pytest.approx(np.quantile(nearest, 0.995), rel=1e-3)


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
    assert set(info["bytes"]) == {"atlas.json", "index", "model", "soma"}
    assert info["bytes"]["atlas.json"] == (atlas.path / "atlas.json").stat().st_size


# ---- writing


def test_an_empty_atlas_says_so(writable):
    assert writable.n_obs == 0
    assert writable.obs().empty
    with pytest.raises(ValueError, match="has no cells"):
        writable.build_index()
    with pytest.raises(ValueError, match=r"has no index; .* call build_index"):
        _ = writable.index


def test_a_stale_index_is_refused(writable):
    writable.append(fakes.cells(20, seed=4), study="a")
    writable.build_index()
    assert writable.index.n_rows == 20
    writable.append(fakes.cells(20, seed=5), study="b")
    with pytest.raises(ValueError, match="covers 20 of 40 cells"):
        _ = writable.index
    writable.build_index()
    assert writable.index.n_rows == 40
    writable.build_index()
    assert sorted(p.name for p in (writable.path / "index").iterdir()) == ["v0002", "v0003"]


def test_a_reader_keeps_its_snapshot(writable):
    writable.append(fakes.cells(20, seed=4), study="a")
    with scim.atlas.open(writable.path) as reader:
        writable.append(fakes.cells(20, seed=5), study="b", obs_columns=["tissue"])
        assert (reader.n_obs, len(reader.obs()), reader.columns) == (20, 20, writable.columns[:4])
        assert reader.embeddings().shape == (20, 16)
    with scim.atlas.open(writable.path) as reader:
        assert len(reader.obs()) == 40


def test_h5ad_files_are_appended_without_loading_them(writable, tmp_path):
    cells = fakes.cells(20, seed=4)
    cells.write_h5ad(tmp_path / "a.h5ad")
    writable.append(tmp_path / "a.h5ad", study_key="sample", label_key="cell_type")
    assert writable.obs()["study"].tolist() == cells.obs["sample"].tolist()
    assert writable.obs()["label"].tolist() == cells.obs["cell_type"].tolist()
    np.testing.assert_array_equal(
        writable.embeddings(),
        writable.model.embed(scim.pp.find_counts(cells), scim.pp.match_genes(cells.var, writable.model.genes)),
    )
    cells.write_h5ad(tmp_path / "a.h5ad")  # it was closed
    with pytest.raises(FileNotFoundError, match="no such file; expected an h5ad file"):
        writable.append(tmp_path / "b.h5ad", study="x")
    with pytest.raises(TypeError, match="Expected an AnnData, got DataFrame"):
        writable.append(cells.obs, study="x")


def test_counts_are_stored_over_the_union_of_genes(writable):
    first, second = fakes.cells(9, seed=4), fakes.cells(6, seed=5)[:, ::2].copy()
    second.var_names = [f"new-{name}" if i < 2 else name for i, name in enumerate(second.var_names)]
    writable.append(first, study="a", counts=True)
    writable.append(second, study="b", counts=True)
    with tiledbsoma.open(str(writable.path / "soma")) as experiment:
        rna = experiment.ms["RNA"]
        var = rna.var.read().concat().to_pandas()
        X = rna.X["counts"].read().coos().concat().to_scipy().toarray()
    symbols = var["symbol"].tolist()
    assert len(symbols) == first.n_vars + 2
    np.testing.assert_array_equal(X[:9, : first.n_vars], first.X.toarray())
    columns = [symbols.index(name) for name in scim.pp.gene_symbols(scim.pp.canonical_genes(second.var_names))]
    np.testing.assert_array_equal(X[9:, columns], second.X.toarray())
    assert X[9:].sum() == second.X.sum()


def test_labels_are_kept_under_their_ontology_name(writable):
    cells = fakes.cells(4, seed=4)
    cells.obs["mine"] = ["CL:0000084", "T-lymphocyte", "my own word", None]
    writable.append(cells, study="a", label_key="mine")
    obs = writable.obs()
    assert obs["label"].tolist() == ["T cell", "T cell", "my own word", None]
    assert obs["label_id"].tolist() == ["CL:0000084", "CL:0000084", None, None]


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "Expected study= .* got neither", {}),
        (ValueError, "Expected study= .* got both", {"study": "a", "study_key": "sample"}),
        (KeyError, r"obs has no column \['nope'\]", {"study": "a", "label_key": "nope"}),
        (
            ValueError,
            r"obs_columns \['label'\] are names that the atlas uses",
            {"study": "a", "obs_columns": ["label"]},
        ),
        (TypeError, r"obs\['mixed'\] has dtype object and holds more", {"study": "a", "obs_columns": ["mixed"]}),
        (ValueError, r"obs\['holes'\] has 1 missing values", {"study_key": "holes"}),
        (ValueError, "counts=True stores counts, but X holds normalised", {"study": "a", "counts": True}),
    ],
)
def test_append_refuses_and_leaves_the_atlas_as_it_was(writable, error, message, arguments):
    writable.append(fakes.cells(10, seed=4), study="before")
    before = read_manifest(writable.path)
    cells = fakes.cells(9, seed=5)
    cells.obs["label"] = "x"
    cells.obs["mixed"] = pd.Series([1, "a", *range(7)], dtype=object, index=cells.obs_names)
    cells.obs["holes"] = [None, *"abcdefgh"]
    if arguments.get("counts"):
        cells.X = cells.X * np.float32(30.5)
    with pytest.raises(error, match=message):
        writable.append(cells, **arguments)
    assert read_manifest(writable.path) == before
    assert len(writable.obs()) == 10


def test_known_cells_and_changed_types_are_refused(writable):
    writable.append(fakes.cells(10, seed=4), study="a", obs_columns=["n"])
    with pytest.raises(ValueError, match=r"10 cells of study \['a'\] are in the atlas already"):
        writable.append(fakes.cells(20, seed=5)[:10].copy(), study="a")
    other = fakes.cells(10, seed=5)
    other.obs["n"] = other.obs["n"].astype(str)
    with pytest.raises(TypeError, match=r"obs\['n'\] is large_string, but the atlas keeps this column as int64"):
        writable.append(other, study="b", obs_columns=["n"])
    twice = fakes.cells(10, seed=5)
    twice.obs_names = ["x"] * 10
    with pytest.raises(ValueError, match="9 cell names occur twice"):
        writable.append(twice, study="b")


def test_an_append_that_died_is_discarded_by_the_next(writable, monkeypatch):
    from scim.atlas import _append

    writable.append(fakes.cells(10, seed=4), study="a")

    def die(*_args):
        msg = "power cut"
        raise OSError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(_append, "_write_embeddings", die)
        with pytest.raises(OSError, match="power cut"):
            writable.append(fakes.cells(30, seed=5), study="b")
    with scim.atlas.open(writable.path) as reader:
        assert len(reader.obs()) == 10
    writable.append(fakes.cells(12, seed=6), study="c")
    assert writable.obs()["study"].tolist() == ["a"] * 10 + ["c"] * 12
    with tiledbsoma.open(str(writable.path / "soma")) as experiment:
        assert experiment.obs.count == 22


def test_columns_of_an_append_that_died_do_not_bind_the_next(writable, monkeypatch):
    from scim.atlas import _append

    writable.append(fakes.cells(10, seed=4), study="a", obs_columns=["tissue"])

    def die(*_args):
        msg = "power cut"
        raise OSError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(_append, "_write_obs", die)
        with pytest.raises(OSError, match="power cut"):
            writable.append(fakes.cells(9, seed=5), study="b", obs_columns=["n", "age"])
    cells = fakes.cells(9, seed=5)
    cells.obs["n"] = "text"
    writable.append(cells, study="b", obs_columns=["n"])
    assert writable.columns == ["cell_id", "study", "label", "label_id", "n", "tissue"]
    assert writable.obs()["n"].tolist() == [None] * 10 + ["text"] * 9


def test_every_append_may_bring_a_column(writable):
    for i, column in enumerate(["n", "primary", "age", "tissue", "note"]):
        writable.append(fakes.cells(10, seed=i), study=f"s{i}", obs_columns=[column])
    obs = writable.obs()
    assert obs["n"].notna().sum() == 10
    assert obs["n"][:10].tolist() == list(range(10))
    assert obs["primary"][10:20].tolist() == fakes.cells(10, seed=1).obs["primary"].tolist()
    assert obs["tissue"][30:40].tolist() == fakes.cells(10, seed=3).obs["tissue"].tolist()


def test_a_second_writer_is_noticed_and_nothing_is_lost(writable):
    with scim.atlas.open(writable.path, mode="w") as other:
        other.append(fakes.cells(20, seed=4), study="a")
        with pytest.raises(ValueError, match="was changed by another writer since it was opened; open it again"):
            writable.append(fakes.cells(5, seed=5), study="b")
        with pytest.raises(ValueError, match="was changed by another writer"):
            writable.build_index()
    with scim.atlas.open(writable.path) as reader:
        assert len(reader.obs()) == 20


def test_a_reader_keeps_its_index_while_another_is_built(writable):
    writable.append(fakes.cells(20, seed=4), study="a")
    writable.build_index()
    with scim.atlas.open(writable.path) as reader:
        writable.build_index()
        assert reader.index.n_rows == 20
    with scim.atlas.open(writable.path) as reader:
        writable.build_index()
        writable.build_index()
        with pytest.raises(FormatError, match="was rebuilt since the atlas was opened: open it again"):
            _ = reader.index


def test_relative_paths_follow_the_working_directory(tmp_path, monkeypatch, atlas_path):
    monkeypatch.chdir(tmp_path)
    with scim.atlas.create("here.scim", model=fakes.tiny_model()) as atlas:
        atlas.append(fakes.cells(5), study="a")
    assert (tmp_path / "here.scim" / "soma").is_dir()
    monkeypatch.chdir(atlas_path.parent)
    with scim.atlas.open(atlas_path.name) as atlas:
        assert len(atlas.obs()) == 150


def test_overwrite_replaces_an_atlas_and_nothing_else(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years")
    with pytest.raises(FileExistsError, match="is not replaced: it has no 'atlas.json'"):
        scim.atlas.create(precious, model=fakes.tiny_model(), overwrite=True)
    assert (precious / "thesis.txt").read_text() == "years"
    scim.atlas.create(tmp_path / "a.scim", model=fakes.tiny_model()).close()
    scim.atlas.create(tmp_path / "a.scim", model=fakes.tiny_model(seed=1), overwrite=True).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.scim", "precious"]


def test_reading_mode_cannot_write(atlas):
    with pytest.raises(PermissionError, match=r"append needs the atlas open for writing: .*mode='w'"):
        atlas.append(fakes.cells(3), study="x")
    with pytest.raises(PermissionError, match="build_index needs"):
        atlas.build_index()


# ---- opening


def test_what_is_no_atlas(tmp_path, atlas_path):
    with pytest.raises(FileNotFoundError, match="No atlas at .*nowhere.*no such folder"):
        scim.atlas.open(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="is not a scim atlas: it has no 'atlas.json'"):
        scim.atlas.open(tmp_path)
    with pytest.raises(ValueError, match="mode must be 'r' or 'w', got 'a'"):
        scim.atlas.open(atlas_path, mode="a")
    with pytest.raises(FileExistsError, match="exists already; pass overwrite=True"):
        scim.atlas.create(atlas_path, model=fakes.tiny_model())


@pytest.mark.parametrize("part", ["soma", "soma/obs", "soma/ms/RNA/obsm/X_scim"])
def test_a_damaged_store_says_so(tmp_path, atlas_path, part):
    import shutil

    copy = shutil.copytree(atlas_path, tmp_path / "copy.scim")
    shutil.rmtree(copy / part)

    def use():
        with scim.atlas.open(copy) as atlas:
            atlas.obs()
            atlas.embeddings()

    with pytest.raises(FormatError, match="is damaged"):
        use()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"version": 1', '"version": 99', "format version 99, this scim reads 1"),
        ('"scim-atlas"', '"something"', "does not describe a scim atlas"),
        ('"uid"', '"diu"', "is incomplete"),
        ("{", "", "is not readable JSON"),
    ],
)
def test_damaged_manifests(tmp_path, atlas_path, old, new, message):
    (tmp_path / "atlas.json").write_text((atlas_path / "atlas.json").read_text().replace(old, new, 1))
    with pytest.raises(FormatError, match=message):
        scim.atlas.open(tmp_path)


def test_another_model_is_noticed(tmp_path, atlas_path):
    import shutil

    copy = shutil.copytree(atlas_path, tmp_path / "copy.scim")
    fakes.tiny_model(seed=5).save(copy / "model", overwrite=True)
    with scim.atlas.open(copy) as atlas, pytest.raises(FormatError, match="put the original model back"):
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
