from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tiledbsoma

import scim
from helpers import fakes
from scim._core.errors import FormatError
from scim.atlas._manifest import read_manifest


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
