"""Files that are damaged, or made to harm: each is refused by an error that names it, by path and on the command line."""

from __future__ import annotations

import os
import shutil
import warnings

import anndata
import h5py
import numpy as np
import pytest
import zarr
from scipy import sparse

import scim
from helpers import fakes
from scim._core import FormatError
from scim.io.cells import opened, read_adata

N = 20


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with the same cells as h5ad, zarr and 10x."""
    folder, adata = tmp_path_factory.mktemp("whole"), fakes.cells(N)
    adata.write_h5ad(folder / "a.h5ad")
    with anndata.settings.override(zarr_write_format=2), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.write_zarr(folder / "a.zarr")
    X = sparse.csr_matrix(adata.X)
    with h5py.File(folder / "a.h5", "w") as file:
        names = adata.var_names.to_numpy().astype("S")
        file["matrix/barcodes"] = adata.obs_names.to_numpy().astype("S")
        file["matrix/data"], file["matrix/indices"], file["matrix/indptr"] = (
            X.data.astype(np.int32),
            X.indices,
            X.indptr,
        )
        file["matrix/shape"] = np.array(X.shape[::-1])
        file["matrix/features/id"] = file["matrix/features/name"] = names
        file["matrix/features/feature_type"] = np.full(len(names), b"Gene Expression")
        file["matrix/features/genome"] = np.full(len(names), b"GRCh38")
    return folder


@pytest.fixture
def copied(source, tmp_path):
    shutil.copytree(source, tmp_path / "copy")
    return tmp_path / "copy"


def replace(group, name, values):
    attributes = dict(group[name].attrs) if name in group else {}
    if name in group:
        del group[name]
    group[name] = values
    group[name].attrs.update(attributes)


def set_attribute(name, key, value):
    def change(file, _folder):
        if value is None:
            del file[name].attrs[key]
        else:
            file[name].attrs[key] = value

    return change


def set_values(name, change_values):
    def change(file, _folder):
        group, _, last = name.rpartition("/")
        replace(file[group] if group else file, last, change_values(file[name][:]))

    return change


def put(name, make):
    def change(file, folder):
        if name in file:
            del file[name]
        make(file, name, folder)

    return change


def declared(shape, chunks, **how):
    return lambda file, name, _: file.create_dataset(name, shape=shape, chunks=chunks, dtype="f4", **how)


def virtual(file, name, folder):
    layout = h5py.VirtualLayout(shape=(N, 5), dtype="f4")
    layout[:] = h5py.VirtualSource(folder / "other.h5", "X", shape=(N, 5))
    file.create_virtual_dataset(name, layout)


def nest(file, _folder):
    group = file["uns"]
    for _ in range(80):
        group = group.create_group("a")


def changed(at, value):
    def change(values):
        values = values.astype(np.int64)
        values[at] = value
        return values

    return change


CASES = {
    "indptr beyond the end": (set_values("X/indptr", changed(-1, 10**9)), "X of .* is damaged"),
    "indptr ends early": (set_values("X/indptr", changed(-1, 5)), "X of .* is damaged"),
    "indptr not monotone": (set_values("X/indptr", changed(3, 10**6)), "X of .* is damaged"),
    "indptr too short": (set_values("X/indptr", lambda values: values[:-1]), "X of .* is damaged"),
    "index negative": (set_values("X/indices", changed(4, -1)), "X of .* is damaged"),
    "index too large": (set_values("X/indices", changed(4, 10**6)), "X of .* is damaged"),
    "indices of fractions": (set_values("X/indices", lambda values: values.astype(float)), "X of .* is damaged"),
    "indices too few": (set_values("X/indices", lambda values: values[:-1]), "X of .* is damaged"),
    "data of texts": (set_values("X/data", lambda values: values.astype("S4")), "X of .* is damaged|cannot be read"),
    "shape wider than var": (set_attribute("X", "shape", (N, 10**6)), "shape|a.h5ad"),
    "shape of more rows": (set_attribute("X", "shape", (2**40, 5)), "X of .* is damaged"),
    "shape beyond all": (set_attribute("X", "shape", (2**62, 2**62)), "X of .* is damaged"),
    "shape of texts": (set_attribute("X", "shape", "wide"), "a.h5ad.* cannot be read"),
    "no encoding": (set_attribute("X", "encoding-type", None), "a.h5ad"),
    "another encoding": (set_attribute("X", "encoding-type", "dict"), "a.h5ad"),
    "encoding that is a number": (set_attribute("X", "encoding-type", 5), "a.h5ad"),
    "no index": (set_attribute("obs", "_index", None), "a.h5ad' cannot be read"),
    "index elsewhere": (set_attribute("obs", "_index", "nope"), "a.h5ad' cannot be read"),
    "columns that are numbers": (set_attribute("obs", "column-order", 5), "a.h5ad' cannot be read"),
    "code out of range": (set_values("obs/cell_type/codes", changed(3, 99)), "a.h5ad' cannot be read"),
    "codes too few": (set_values("obs/cell_type/codes", lambda values: values[:-1]), "a.h5ad"),
    "column too short": (set_values("obs/n", lambda values: values[:-1]), "a.h5ad"),
    "column of one value": (put("obs/n", lambda file, name, _: file.create_dataset(name, data=5)), "a.h5ad"),
    "obs is an array": (put("obs", lambda file, name, _: file.create_dataset(name, data=np.zeros(3))), "a.h5ad"),
    "X is a group": (put("X", lambda file, name, _: file.create_group(name)), "a.h5ad"),
    "X of one dimension": (put("X", lambda file, name, _: file.create_dataset(name, data=np.zeros(N))), "a.h5ad"),
    "link to a file": (
        put("X", lambda file, name, folder: file.update({name: h5py.ExternalLink(folder / "other.h5", "X")})),
        "/X of .* is a link",
    ),
    "link within the file": (
        put("X", lambda file, name, _: file.update({name: h5py.SoftLink("/X")})), "/X of .* is a link",
    ),
    "circle": (lambda file, _: file["uns"].update({"a": file["uns"]}), "is elsewhere in the file|in the file too"),
    "values in other files": (put("X", virtual), "/X of .* has its values in other files"),
    "values in another file": (
        put("X", lambda file, name, folder: file.create_dataset(
            name, (N, 5), "u1", external=[(str(folder / "a.h5"), 0, 100)])), "has its values in other files",
    ),
    "more cells than the file has bytes": (put("obs/n", declared((2**40,), (1024,))), "a.h5ad"),
    "huge chunks": (put("X/data", declared((600,), (2**28,), maxshape=(None,), compression="gzip")), "a.h5ad"),
    "nested deeply": (nest, "nested|a.h5ad"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:Element .* was written without encoding metadata")
def test_damage_of_an_h5ad_file(name, copied):
    change, match = CASES[name]
    with h5py.File(copied / "other.h5", "w") as file:
        file["X"] = np.ones((N, 5))
    with h5py.File(copied / "a.h5ad", "r+") as file:
        change(file, copied)
    with pytest.raises(FormatError, match="a.h5ad"):
        read_adata(copied / "a.h5ad")
    if name == "nested deeply":  # uns is not read by path
        return
    with pytest.raises(ValueError, match=match) as caught, opened(copied / "a.h5ad", ["cell_type", "n"]) as cells:
        scim.pp.find_counts(cells).rows(0, N)
    assert "a.h5ad" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("indptr", changed(-1, 10**9)),
        ("indices", changed(7, -1)),
        ("indices", changed(7, 10**6)),
        ("shape", lambda _: np.array([2**40, N])),
        ("shape", lambda _: np.array([3, N])),
        ("barcodes", lambda values: values[:-1]),
        ("data", lambda values: values[:-1]),
    ],
)
def test_damage_of_a_10x_file(name, change, copied):
    assert read_adata(copied / "a.h5").shape[0] == N
    with h5py.File(copied / "a.h5", "r+") as file:
        replace(file["matrix"], name, change(file["matrix"][name][:]))
    with pytest.raises(FormatError, match="a.h5'"):
        read_adata(copied / "a.h5")


def make_pipe(path):
    path.unlink()
    os.mkfifo(path)


def link_to_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def make_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
@pytest.mark.parametrize("change", [make_pipe, link_to_device])
@pytest.mark.parametrize("name", ["a.h5ad", "a.h5", "a.zarr/X/indptr/0", "a.zarr/.zgroup", "a.zarr.zip"])
def test_what_is_no_file_is_not_opened(change, name, copied):
    (copied / "a.zarr.zip").touch()
    change(copied / name)
    path = copied / name.partition("/")[0]
    if path.suffix != ".zip":
        with pytest.raises(FormatError, match="is a (pipe|device|link), expected a file"):
            read_adata(path)
    with pytest.raises(FormatError, match="is a (pipe|device|link), expected a file"), opened(path, []):
        pass


@pytest.mark.parametrize("content", ["[" * 10**5, "{}", "null", '{"zarr_format": 99}', '{"a": ' * 3000])
@pytest.mark.parametrize("name", ["X/indptr/.zarray", "X/.zattrs", ".zgroup", "obs/.zattrs"])
def test_metadata_of_zarr(name, content, copied):
    (copied / "a.zarr" / name).write_text(content)
    for read in (read_adata, read_by_path):
        try:
            read(copied / "a.zarr")
        except FormatError as error:
            assert "a.zarr" in str(error)  # noqa: PT017  (some leave a store that can be read)


def read_by_path(path):
    with opened(path, ["n"]) as cells:
        scim.pp.find_counts(cells).rows(0, N)


def test_chunks_of_zarr_that_are_folders_or_huge(copied):
    store = copied / "a.zarr"
    make_folder(store / "X" / "indices" / "0")  # zarr reads zeros for a chunk that is no file
    for read in (read_adata, read_by_path):
        with pytest.raises(FormatError, match=r"X of .*a.zarr' is damaged: 1 of 1 chunks of values are missing"):
            read(store)
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    del root["obs/n"]
    root["obs"].create_array("n", shape=(2**40,), chunks=(2**20,), dtype="f8")
    with pytest.raises(FormatError, match="claims .* bytes of content"), opened(store, ["n"]):
        pass


def test_whole_files_are_read(source):
    for name in ("a.h5ad", "a.zarr", "a.h5"):
        adata = read_adata(source / name)
        np.testing.assert_array_equal(adata.X.toarray(), fakes.cells(N).X.toarray())
    assert read_adata(str(source / "a.h5")).var_names.is_unique
    with pytest.raises(FormatError, match=r"expected an .h5ad, .zarr or 10x .h5 file"):
        read_adata(source.parent)
