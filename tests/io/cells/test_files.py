from __future__ import annotations

import shutil
import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

import scim
from helpers import fakes
from scim._core import FormatError
from scim.atlas._source import Source, resume_token
from scim.io.cells import _disk, opened

KEEP = ["cell_type", "n", "note"]

# zarr 3 warns that it has no final specification for text of fixed width, which anndata stores
pytestmark = pytest.mark.filterwarnings("ignore:The data type:zarr.errors.UnstableSpecificationWarning")


def write_zarr(adata, path, version):
    with anndata.settings.override(zarr_write_format=version), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.write_zarr(path)


def read(path, **arguments):
    given = {"study": "s", "study_key": None, "label_key": None, "obs_columns": [], "layer": None} | arguments
    return Source.read(path, **given)


def full():
    """Cells with all elements that a file may have."""
    adata = fakes.cells(30)
    adata.obs["flag"] = pd.array([True, None] * 15, dtype="boolean")
    adata.raw = adata.copy()
    adata.layers["dense"] = adata.X.toarray()
    adata.layers["sparse"] = adata.X * 2
    adata.layers["column"] = (adata.X * 3).tocsc()
    adata.obsm["dense"] = np.random.default_rng(0).normal(size=(30, 4))
    adata.obsm["sparse"] = sparse.csr_matrix(adata.obsm["dense"])
    adata.obsm["column"] = sparse.csc_matrix(adata.obsm["dense"])
    adata.obsm["frame"] = pd.DataFrame(adata.obsm["dense"], index=adata.obs_names, columns=list("abcd"))
    adata.uns["log1p"] = {"base": 2}
    adata.X = adata.X / np.float32(3)
    return adata


@pytest.fixture(params=["a.h5ad", "a2.zarr", "a3.zarr", "a3.zarr.zip"], scope="module")
def written(request, tmp_path_factory):
    """An AnnData and the path where it was written."""
    folder, adata = tmp_path_factory.mktemp("files"), full()
    path = folder / request.param
    if path.suffix == ".h5ad":
        adata.write_h5ad(path)
        return adata, path
    store = folder / request.param.removesuffix(".zip")
    write_zarr(adata, store, int(store.stem[-1]))
    if path.suffix == ".zip":
        shutil.make_archive(str(store), "zip", store)
    return adata, path


def test_an_anndata_is_yielded_unchanged():
    adata = fakes.cells(3)
    with opened(adata, []) as cells:
        assert cells is adata


def test_parts_are_those_of_the_file(written):
    adata, path = written
    with opened(path, KEEP) as cells:
        assert (cells.n_obs, cells.n_vars, list(cells.obs)) == (30, adata.n_vars, KEEP)
        assert cells.obs_names.tolist() == adata.obs_names.tolist()
        assert cells.var_names.tolist() == adata.var_names.tolist()
        pd.testing.assert_frame_equal(
            cells.obs, adata.obs[KEEP], check_dtype=False, check_index_type=False, check_categorical=False
        )
        assert isinstance(cells.obs["cell_type"].dtype, pd.CategoricalDtype)
        assert sorted(cells.layers) == ["column", "dense", "sparse"]
        assert sorted(cells.obsm) == ["column", "dense", "frame", "sparse"]
        np.testing.assert_array_equal(cells.X[3:9].toarray(), adata.X[3:9].toarray())
        np.testing.assert_array_equal(cells.raw.X[3:9].toarray(), adata.raw.X[3:9].toarray())
        np.testing.assert_array_equal(cells.layers["dense"][3:9], adata.layers["dense"][3:9])
        assert cells.uns["log1p"]["base"] == 2


@pytest.mark.filterwarnings("ignore:No counts found")  # X is made of fractions
@pytest.mark.parametrize("layer", [None, "raw", "X", "dense", "sparse", "column"])
def test_counts_are_those_of_the_same_data_in_memory(written, layer):
    adata, path = written
    with opened(path, KEEP) as cells:
        source = read(cells, label_key="cell_type", obs_columns=["n", "note"], layer=layer)
        expected = read(adata, label_key="cell_type", obs_columns=["n", "note"], layer=layer)
        assert (source.counts.source, source.counts.kind) == (expected.counts.source, expected.counts.kind)
        for start, stop in [(0, 30), (7, 8), (29, 30), (5, 5)]:
            rows, other = source.counts.rows(start, stop), expected.counts.rows(start, stop)
            np.testing.assert_array_equal(rows.toarray(), other.toarray())
        pd.testing.assert_frame_equal(source.obs, expected.obs, check_dtype=False)


@pytest.mark.parametrize("obsm", ["dense", "sparse", "column", "frame"])
def test_embeddings_are_those_of_the_same_data_in_memory(written, obsm):
    adata, path = written
    with opened(path, []) as cells:
        source = read(cells, obsm=obsm)
        assert source.counts is None
        assert source.embedding.shape == (30, 4)
        np.testing.assert_array_equal(source.embedding[4:11], adata.obsm["dense"][4:11])


def test_columns_of_every_kind_are_read(written):
    adata, path = written
    names = ["tissue", "age", "n", "primary", "note", "flag"]
    with opened(path, names) as cells:
        obs = read(cells, obs_columns=names).obs
    for name in names:
        given, expected = obs[name].astype(object), adata.obs[name].astype(object)
        assert given.isna().tolist() == expected.isna().tolist()
        assert given.dropna().tolist() == expected.dropna().tolist()


def test_a_missing_column_names_all_of_the_file(written):
    _, path = written
    with (
        pytest.raises(KeyError, match=r"no column \['nope'\]. Present: \['cell_type', 'sample', .*'flag'\]"),
        opened(path, ["n", "nope"]),
    ):
        pass


def test_files_are_closed_on_error_too(tmp_path, monkeypatch):
    files, enter = [], h5py.File.__enter__

    def remember(file):
        files.append(file)
        return enter(file)

    fakes.cells(5).write_h5ad(tmp_path / "a.h5ad")
    monkeypatch.setattr(h5py.File, "__enter__", remember)
    with opened(tmp_path / "a.h5ad", []) as cells:
        assert cells.X[0:2].shape == (2, cells.n_vars)
    with pytest.raises(ZeroDivisionError), opened(tmp_path / "a.h5ad", []):
        _ = 1 / 0
    with pytest.raises(KeyError, match="no column"), opened(tmp_path / "a.h5ad", ["nope"]):
        pass
    assert len(files) == 3
    assert not any(files)  # an open file is true


def test_a_file_without_X_and_one_without_raw(tmp_path):
    adata = fakes.cells(9)
    without = anndata.AnnData(obs=adata.obs, var=adata.var, layers={"counts": adata.X})
    without.write_h5ad(tmp_path / "a.h5ad")
    with opened(tmp_path / "a.h5ad", []) as cells:
        assert (cells.X, cells.raw) == (None, None)
        source = read(cells)
        assert source.counts.source == "layers['counts']"
        np.testing.assert_array_equal(source.counts.rows(0, 9).toarray(), adata.X.toarray())
    del without.layers["counts"]
    without.write_h5ad(tmp_path / "b.h5ad")
    with opened(tmp_path / "b.h5ad", []) as cells, pytest.raises(ValueError, match="X is None and neither a layer"):
        read(cells)


def test_only_slices_of_a_large_file_are_read(tmp_path, monkeypatch):
    n, n_genes, per_row = 50_000, 2_000, 200
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        anndata.io.write_elem(file, "obs", pd.DataFrame({"a": np.arange(n)}, index=np.arange(n).astype(str)))
        anndata.io.write_elem(file, "var", pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))
        X = file.create_group("X")
        X.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (n, n_genes)})
        # Unwritten values are the fill value: 80 MB in memory, nothing on disk.
        X.create_dataset("data", shape=n * per_row, dtype="f4", fillvalue=1, chunks=(100_000,))
        X.create_dataset("indices", shape=n * per_row, dtype="i4", fillvalue=7, chunks=(100_000,))
        X["indptr"] = np.arange(n + 1) * per_row
        file.create_dataset("layers/dense", shape=(n, n_genes), dtype="f4", fillvalue=2, chunks=(100, n_genes))
    largest, get = [0], h5py.Dataset.__getitem__

    def counted(self, *arguments, **more):
        part = get(self, *arguments, **more)
        if "X/" in self.name or "layers" in self.name:
            largest[0] = max(largest[0], np.asarray(part).nbytes)
        return part

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    with opened(tmp_path / "a.h5ad", ["a"]) as cells:
        for layer, limit in [("X", 4 * 500 * per_row), ("dense", 4 * 500 * n_genes)]:
            largest[0] = 0
            source = read(cells, layer=layer)
            rows = source.counts.rows(40_000, 40_100)
            assert rows.sum() == (100 * per_row if layer == "X" else 200 * n_genes)
            assert 0 < largest[0] <= max(limit, 8 * (n + 1))  # 500 rows are read, and the row starts


def test_a_large_matrix_by_column_is_refused(tmp_path, monkeypatch):
    adata = fakes.cells(9)
    adata.X = adata.X.tocsc()
    adata.write_h5ad(tmp_path / "a.h5ad")
    monkeypatch.setattr(_disk, "MAX_CSC_BYTES", 100)
    with (
        opened(tmp_path / "a.h5ad", []) as cells,
        pytest.raises(ValueError, match=r"X of '.*a.h5ad' is stored by column \(csc, .* adata.X = adata.X.tocsr\(\)"),
    ):
        read(cells)


def test_other_files_raise_with_the_remedy(tmp_path):
    def refused(name, message, error=FormatError):
        with pytest.raises(error, match=message), opened(tmp_path / name, []):
            pass

    refused("a.h5ad", "no such file; expected an h5ad file or a zarr folder", FileNotFoundError)
    with pytest.raises(ValueError, match="read from this machine; copy it here first"), opened("s3://b/a.h5ad", []):
        pass
    (tmp_path / "folder").mkdir()
    refused("folder", "folder' is no zarr store. Expected an h5ad file or what adata.write_zarr")
    (tmp_path / "folder" / "__tiledb_group.tdb").touch()
    refused("folder", r"it is a TileDB folder: open it with tiledbsoma.Experiment.open\(path\)")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    refused("a.csv", r"not a file of AnnData. Expected .h5ad or .zarr; read it with scanpy.read_csv\(path\) and pass")
    (tmp_path / "a.rds").write_text("x")
    refused("a.rds", "Expected .h5ad or .zarr; read it into an AnnData and pass that")
    (tmp_path / "a.zip").write_text("x")
    refused("a.zip", "a.zip' cannot be read: it is no zip, or incomplete")
    with h5py.File(tmp_path / "a.loom", "w") as file:
        file["matrix"] = np.zeros(3)
    refused("a.loom", r"read it with anndata.io.read_loom\(path\)")
    with h5py.File(tmp_path / "c.h5ad", "w") as file:
        file["X"] = np.zeros(3)
    refused("c.h5ad", r"holds no AnnData: it has no obs and no var. Present: \['X'\]")
    with h5py.File(tmp_path / "c.h5mu", "w") as file:
        file.create_group("mod")
    refused("c.h5mu", r"holds a MuData; read it with mudata.read\(path\) and pass one modality")
    zarr.open_group(tmp_path / "c.zarr", mode="w").create_group("var")
    refused("c.zarr", r"holds no AnnData: it has no obs. Present: \['var'\]")
    (tmp_path / "d.h5ad").touch()
    refused("d.h5ad", "d.h5ad' cannot be read .* damaged or incomplete. Write or copy it again")


def test_a_locked_file_is_not_reported_as_damaged(tmp_path, monkeypatch):
    def busy(*_arguments):
        raise BlockingIOError(11, "unable to lock file")

    fakes.cells(3).write_h5ad(tmp_path / "a.h5ad")
    monkeypatch.setattr(h5py, "File", busy)
    with pytest.raises(BlockingIOError, match="unable to lock file"), opened(tmp_path / "a.h5ad", []):
        pass


def test_damage_names_the_file(tmp_path):
    path = tmp_path / "a.h5ad"
    adata = fakes.cells(200)
    adata.X = adata.X.toarray()
    adata.write_h5ad(path, compression="gzip")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=r"a.h5ad' cannot be read \(.*truncated.*\): it is damaged"), opened(path, []):
        pass
    path.write_bytes(whole)
    with h5py.File(path) as file:
        chunk = file["X"].id.get_chunk_info(0)
    path.write_bytes(whole[: chunk.byte_offset] + bytes(chunk.size) + whole[chunk.byte_offset + chunk.size :])
    with opened(path, []) as cells, pytest.raises(FormatError, match=r"a.h5ad' cannot be read \(.*filter"):
        read(cells)
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        del file["obs"]["n"]
    with pytest.raises(FormatError, match=r"a.h5ad' cannot be read"), opened(path, ["n"]):
        pass
    with h5py.File(path, "w") as file:
        file["obs"] = np.zeros(3, dtype=[("index", "S3")])
        file["var"] = np.zeros(3, dtype=[("index", "S3")])
    with pytest.raises(FormatError, match="written by an anndata older than 0.7"), opened(path, []):
        pass


def test_a_damaged_chunk_of_zarr_names_the_folder(tmp_path):
    adata = fakes.cells(60)
    adata.X = adata.X.toarray()
    write_zarr(adata, tmp_path / "a.zarr", 3)
    chunk = next(
        file
        for file in (tmp_path / "a.zarr" / "X").rglob("*")
        if file.is_file() and file.name[0] != "." and file.suffix != ".json"
    )
    chunk.write_bytes(b"broken")
    with opened(tmp_path / "a.zarr", []) as cells, pytest.raises(FormatError, match="a.zarr' cannot be read"):
        read(cells)


@pytest.mark.filterwarnings("ignore:Element .* was written without encoding metadata")
def test_frames_of_an_older_anndata_are_read(tmp_path):
    adata = fakes.cells(6)
    adata.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        obs = file["obs"]
        for name in list(obs):
            if isinstance(obs[name], h5py.Group):
                del obs[name]
        if "_index" not in obs:  # pandas' own texts are written as a group
            obs["_index"] = adata.obs_names.to_numpy(dtype=object)
        obs.attrs["encoding-version"], obs.attrs["column-order"] = "0.1.0", ["n", "tissue"]
        obs["__categories/tissue"] = np.array(["blood", "lung"], dtype=object)
        obs["tissue"] = np.arange(6) % 2
        obs["tissue"].attrs["categories"] = obs["__categories/tissue"].ref
    with opened(tmp_path / "a.h5ad", ["tissue"]) as cells:
        assert cells.obs["tissue"].tolist() == adata.obs["tissue"].tolist()


def test_tokens_distinguish_files(tmp_path, monkeypatch):
    adata = fakes.cells(5)
    adata.write_h5ad(tmp_path / "a.h5ad")
    write_zarr(adata, tmp_path / "a.zarr", 3)
    assert resume_token(adata) is None
    monkeypatch.chdir(tmp_path)
    for name in ("a.h5ad", "a.zarr"):
        token = resume_token(tmp_path / name, study="s", obs_columns=["n"])
        assert token == resume_token(name, obs_columns=["n"], study="s")
        assert token != resume_token(name, study="t", obs_columns=["n"])
        file = tmp_path / name if name == "a.h5ad" else next(f for f in (tmp_path / name).rglob("*") if f.is_file())
        file.write_bytes(file.read_bytes() + b" ")
        assert token != resume_token(name, study="s", obs_columns=["n"])
    with pytest.raises(FileNotFoundError):
        resume_token("nope")


def test_counts_of_a_file_are_embedded_as_in_memory(tmp_path):
    adata = fakes.cells(30)
    adata.write_h5ad(tmp_path / "a.h5ad")
    model = fakes.tiny_model()
    with opened(tmp_path / "a.h5ad", []) as cells:
        counts = read(cells).counts
        embedded = model.embed(counts, scim.pp.match_genes(counts.var, model.genes))
    genes = scim.pp.match_genes(adata.var, model.genes)
    np.testing.assert_array_equal(embedded, model.embed(scim.pp.find_counts(adata), genes))
