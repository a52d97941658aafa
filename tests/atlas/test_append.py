from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import tiledbsoma
from scipy import sparse

import scim
from helpers import fakes
from scim.atlas.commit import Transaction
from scim.atlas.soma import Writer, read_counts


def test_queries_of_an_empty_atlas_raise(writable):
    assert writable.n_obs == 0
    assert writable.obs().empty
    with pytest.raises(ValueError, match="has no cells"):
        writable.build_index()
    with pytest.raises(ValueError, match=r"has no index; .* call build_index"):
        _ = writable.index


def test_an_index_grows_with_the_atlas(writable):
    writable.append(fakes.cells(200, seed=4), study="a")
    with pytest.raises(ValueError, match="has no index"):
        _ = writable.index
    writable.build_index()
    for i, n in enumerate([30, 9, 4, 2, 10]):
        writable.append(fakes.cells(n, seed=i), study=f"b{i}")
        assert writable.index.n_rows == writable.n_obs
        found = writable.index.query(writable.embeddings(), 1)
        np.testing.assert_allclose(found.distances, 0, atol=1e-6)
    # A new part is merged with earlier parts that are at most twice as large: 30 | 9 | 4 and 2 become 45.
    assert list(writable.info()["index"]["parts"].values()) == [200, 45, 10]
    assert writable.index.n_appended == 55


def test_a_reader_keeps_its_snapshot(writable):
    writable.append(fakes.cells(20, seed=4), study="a")
    with scim.atlas.open(writable.path) as reader:
        writable.append(fakes.cells(20, seed=5), study="b", obs_columns=["tissue"])
        assert (reader.n_obs, len(reader.obs()), reader.columns) == (20, 20, writable.columns[:4])
        assert reader.embeddings().shape == (20, 16)
    with scim.atlas.open(writable.path) as reader:
        assert len(reader.obs()) == 40


def test_counts_of_more_genes_than_there_are(writable):
    # Unknown names are stored as genes: many files together may have more than a tile used to hold.
    known, n_more = fakes.cells(20, seed=4), 140_000
    more = sparse.random(20, n_more, density=1e-3, random_state=0, dtype=np.float32, format="csr")
    more.data[:] = 1
    names = [*known.var_names, *(f"contig-{i}" for i in range(n_more))]
    X = sparse.hstack([sparse.csr_matrix(known.X), more], format="csr")
    adata = anndata.AnnData(X, obs=known.obs, var=pd.DataFrame(index=names))
    writable.append(known, study="a", counts=True)
    writable.append(adata, study="b", counts=True)
    with tiledbsoma.open(f"{writable.path}/soma") as experiment:
        genes = pd.Index(experiment.ms["RNA"].var.read().concat()["gene_id"].to_pylist())
        stored = read_counts(experiment, 20, 40)
    assert (stored[:, genes.get_indexer(scim.pp.canonical_genes(names))] != X).nnz == 0
    assert stored.nnz == X.nnz


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
    assert obs["label"].dropna().tolist() == ["T cell", "T cell", "my own word"]
    assert obs["label_id"].dropna().tolist() == ["CL:0000084", "CL:0000084"]
    assert obs["label"].isna().tolist() == [False, False, False, True]
    assert obs["label_id"].isna().tolist() == [False, False, True, True]


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
def test_a_refused_append_leaves_the_atlas_unchanged(writable, error, message, arguments):
    writable.append(fakes.cells(10, seed=4), study="before")
    before = writable.version
    cells = fakes.cells(9, seed=5)
    cells.obs["label"] = "x"
    cells.obs["mixed"] = pd.Series([1, "a", *range(7)], dtype=object, index=cells.obs_names)
    cells.obs["holes"] = [None, *"abcdefgh"]
    if arguments.get("counts"):
        cells.X = cells.X * np.float32(30.5)
    with pytest.raises(error, match=message):
        writable.append(cells, **arguments)
    assert not writable.refresh()
    assert writable.version == before
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


def fail(*_args, **_kwargs):
    msg = "power cut"
    raise OSError(msg)


def test_an_append_that_failed_leaves_nothing(writable, monkeypatch):
    writable.append(fakes.cells(10, seed=4), study="a")
    files = sorted(writable.path.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr("scim.atlas._append.extend", fail)
        patch.setattr("scim.atlas._append.add_names", fail)
        with pytest.raises(OSError, match="power cut"):
            writable.append(fakes.cells(30, seed=5), study="b", obs_columns=["n"], counts=True)
    assert sorted(writable.path.rglob("*")) == files
    with scim.atlas.open(writable.path) as reader:
        assert len(reader.obs()) == 10
    writable.append(fakes.cells(12, seed=6), study="c")
    assert writable.obs()["study"].tolist() == ["a"] * 10 + ["c"] * 12
    with tiledbsoma.open(str(writable.path / "soma")) as experiment:
        assert experiment.obs.count == 22


def test_columns_of_a_failed_append_do_not_restrict_the_next(writable, monkeypatch):
    writable.append(fakes.cells(10, seed=4), study="a", obs_columns=["tissue"])
    with monkeypatch.context() as patch:
        patch.setattr("scim.atlas.soma.Writer.block", fail)
        with pytest.raises(OSError, match="power cut"):
            writable.append(fakes.cells(9, seed=5), study="b", obs_columns=["n", "age"])
    cells = fakes.cells(9, seed=5)
    cells.obs["n"] = "text"
    writable.append(cells, study="b", obs_columns=["n"])
    assert writable.columns == ["cell_id", "study", "label", "label_id", "n", "tissue"]
    assert writable.obs()["n"].isna().tolist() == [True] * 10 + [False] * 9
    assert writable.obs()["n"].tolist()[10:] == ["text"] * 9


def test_an_interrupted_append_of_a_file_resumes(writable, tmp_path, monkeypatch):
    monkeypatch.setattr("scim.atlas._append._BLOCK_ROWS", 1024)
    fakes.cells(5000, seed=4).write_h5ad(tmp_path / "a.h5ad")
    how = {"study": "a", "label_key": "cell_type", "obs_columns": ["n", "note"], "counts": True}
    writable.append(fakes.cells(10, seed=3), study="before", counts=True)
    written = []

    def block(self, ids, **parts):
        written.append(ids[0])
        if len(written) == 4:
            raise KeyboardInterrupt
        original(self, ids, **parts)

    original = Writer.block
    with monkeypatch.context() as patch:
        patch.setattr("scim.atlas.soma.Writer.block", block)
        with pytest.raises(KeyboardInterrupt):
            writable.append(tmp_path / "a.h5ad", **how)
        assert len(scim.atlas.open(writable.path).obs()) == 10
        writable.append(tmp_path / "a.h5ad", **how)
    assert written == [10, 1034, 2058, 3082, 3082, 4106]
    with scim.atlas.create(tmp_path / "whole.scim", model=writable.model) as whole:
        whole.append(fakes.cells(10, seed=3), study="before", counts=True)
        whole.append(tmp_path / "a.h5ad", **how)
        pd.testing.assert_frame_equal(writable.obs(), whole.obs())
        np.testing.assert_array_equal(writable.embeddings(), whole.embeddings())
    assert scim.atlas.verify(writable.path) == []


def test_another_input_after_an_interruption_starts_from_the_beginning(writable, tmp_path, monkeypatch):
    for i in (4, 5):
        fakes.cells(3000, seed=i).write_h5ad(tmp_path / f"{i}.h5ad")
    monkeypatch.setattr("scim.atlas._append._BLOCK_ROWS", 1024)

    def stop(_self, n_done):
        reached(_self, n_done)
        raise KeyboardInterrupt

    reached = Transaction.reached
    with monkeypatch.context() as patch:
        patch.setattr("scim.atlas.commit.Transaction.reached", stop)
        with pytest.raises(KeyboardInterrupt):
            writable.append(tmp_path / "4.h5ad", study="a")
    writable.append(tmp_path / "5.h5ad", study="a")
    cells = fakes.cells(3000, seed=5)
    scim.tl.embed(cells, writable)
    np.testing.assert_array_equal(writable.embeddings(), cells.obsm["X_scim"])


def test_several_inputs_are_one_commit(writable, tmp_path):
    fakes.cells(20, seed=4).write_h5ad(tmp_path / "a.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # anndata warns of its next default
        fakes.cells(30, seed=5).write_zarr(tmp_path / "b.zarr")
    before = writable.version
    files = [tmp_path / "a.h5ad", tmp_path / "b.zarr", fakes.cells(9, seed=6)]
    assert writable.append(files, study=["a", "b", "c"], label_key="cell_type") == 59
    assert writable.version == before + 1
    assert writable.obs()["study"].tolist() == ["a"] * 20 + ["b"] * 30 + ["c"] * 9
    with pytest.raises(ValueError, match="Expected one study for each of 3 inputs, or one for all; got 2"):
        writable.append(files, study=["x", "y"])
    with pytest.raises(ValueError, match="20 cells of study .*'x'.* are in the atlas already"):
        writable.append([files[0], files[0]], study="x")
    assert writable.n_obs == 59


def test_existing_cells_can_be_skipped(writable):
    writable.append(fakes.cells(20, seed=4), study="a", obs_columns=["n"])
    again = fakes.cells(30, seed=4)
    assert writable.append(again, study="a", obs_columns=["n"], on_duplicate="skip") == 10
    assert writable.obs()["n"].tolist() == [*range(20), *range(20, 30)]
    scim.tl.embed(again, writable)
    np.testing.assert_allclose(writable.embeddings()[20:], again.obsm["X_scim"][20:], atol=1e-6)
    before = writable.version
    assert writable.append(again, study="a", on_duplicate="skip") == 0
    assert writable.version == before
    assert writable.append(again[:3].copy(), study="b", on_duplicate="skip") == 3
    with pytest.raises(ValueError, match="on_duplicate must be one of"):
        writable.append(again, study="a", on_duplicate="ignore")


def test_types_of_columns_are_reconciled_or_refused(writable):
    writable.append(fakes.cells(9, seed=1), study="a", obs_columns=["age", "n"])
    cells = fakes.cells(9, seed=2)
    cells.obs["age"] = np.arange(9, dtype=np.int8)
    cells.obs["n"] = np.append(np.arange(8.0), np.nan).astype(np.float32)
    writable.append(cells, study="b", obs_columns=["age", "n"])
    assert writable.obs()["age"][9:].tolist() == list(range(9))
    assert writable.obs()["n"][9:17].tolist() == list(range(8))
    assert writable.obs()["n"].isna().sum() == 1
    cells.obs["n"] = 0.5
    with pytest.raises(TypeError, match=r"obs\['n'\]"):
        writable.append(cells, study="c", obs_columns=["n"])
    assert writable.n_obs == 18


def test_every_append_may_add_a_column(writable):
    for i, column in enumerate(["n", "primary", "age", "tissue", "note"]):
        writable.append(fakes.cells(10, seed=i), study=f"s{i}", obs_columns=[column])
    obs = writable.obs()
    assert obs["n"].notna().sum() == 10
    assert obs["n"][:10].tolist() == list(range(10))
    assert obs["primary"][10:20].tolist() == fakes.cells(10, seed=1).obs["primary"].tolist()
    assert obs["tissue"][30:40].tolist() == fakes.cells(10, seed=3).obs["tissue"].tolist()


def test_writers_take_turns_and_nothing_is_lost(writable):
    with scim.atlas.open(writable.path, mode="w") as other:
        other.append(fakes.cells(20, seed=4), study="a")
        writable.append(fakes.cells(5, seed=5), study="b")
        other.build_index()
    with scim.atlas.open(writable.path) as reader:
        assert reader.obs()["study"].tolist() == ["a"] * 20 + ["b"] * 5
        assert reader.index.n_rows == 25


def test_a_reader_keeps_its_index_while_others_are_built(writable):
    writable.append(fakes.cells(20, seed=4), study="a")
    writable.build_index()
    with scim.atlas.open(writable.path) as reader:
        writable.append(fakes.cells(10, seed=5), study="b")
        writable.build_index()
        writable.build_index()
        assert reader.index.n_rows == 20
        assert reader.refresh()
        assert reader.index.n_rows == 30
        assert not reader.refresh()


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


def test_explicit_zeros_are_not_stored(writable):
    cells = fakes.cells(30, seed=2)
    cells.X.data[::7] = 0
    writable.append(cells, study="a", counts=True)
    assert scim.atlas.verify(writable.path) == []
    with tiledbsoma.open(str(writable.path / "soma")) as experiment:
        stored = experiment.ms["RNA"].X["counts"].read().tables().concat()["soma_data"].to_numpy()
    assert stored.size == np.count_nonzero(cells.X.data)
    assert stored.sum() == cells.X.sum()
