"""Manifests and arrays whose checksums are right, but not their content: a forger can compute them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest

import scim
from helpers.damage import edit_manifest
from scim._core import FormatError
from scim.atlas._samples import read_ids, read_sample
from scim.atlas.commit import load_ids, load_names, parse_manifest, store_array, store_arrays
from scim.atlas.storage import Storage
from scim.io import sealed


@pytest.fixture(scope="module")
def content(atlas_path):
    """The manifest of an atlas, without its checksum."""
    found = json.loads((atlas_path / "atlas.json").read_text())
    del found["sha256"]
    return found


@dataclass
class At:
    """A place in a manifest, and what is put there."""

    place: str
    value: object


FORGED = [
    At("number", 0), At("number", 10**30), At("number", "5"), At("number", True), At("number", 5.0),
    At("timestamp", -1), At("timestamp", 10**15), At("timestamp", float("nan")), At("made", 5), At("uid", None),
    At("n_rows", 2**60), At("n_rows", -1), At("n_obs", 10**6), At("base", "0"), At("more", 1),
    At("space", None), At("space", []), At("space.dim", 0), At("space.dim", 10**9), At("space.embedding", "../x"),
    At("space.embedding", "__schema"), At("space.embedding", "a/b"), At("space.folder", "../../model"),
    At("space.folder", "index"), At("space.folder", "/etc"), At("space.n_rows", 10**6), At("space.x", 1),
    At("space.index.recall", 1.5), At("space.index.recall", float("nan")), At("space.index.reach", -0.1),
    At("space.index.reach", float("inf")), At("space.index.kind", "tree"), At("space.index.parts", []),
    At("space.index.parts.0.folder", "../../.ssh"), At("space.index.parts.0.folder", "index/v000001/.."),
    At("space.index.parts.0.folder", "soma"), At("space.index.parts.0.start", 1),
    At("space.index.parts.0.stop", 10**9), At("space.index.parts.0.digest", "x"), At("space.index.parts.0.digest", 1),
    At("space.index.parts.0.elsewhere", "label"), At("space.index.confidence", {}),
    At("space.index.confidence.known", [1]), At("space.index.confidence.right.0", float("inf")),
    At("space.index.confidence.errors.3", -1), At("space.index.confidence.n_studies", -1),
    At("space.index.confidence.with_expression", {"known": [0.0, 0.0]}),
    At("space.index.expression", {"name": "../x.npz", "sha256": "0" * 64, "n": 1}),
    At("ledger.name", "../../etc/passwd"), At("ledger.name", "names/000001.npy"), At("ledger.name", "ledger/1.json"),
    At("ledger.sha256", "A" * 64), At("ledger.n", -1), At("names.0.name", "names/\u0661\u0661\u0661\u0661\u0661\u0661.npy"),
    At("names.0.name", "names/000001.npy\n"), At("names.0.n", 0), At("names", {}), At("names.0", []),
    At("removed", {"name": "removed/000001.npy", "sha256": "0" * 64, "n": 10**9}),
    At("removed", {"name": "atlas.json", "sha256": "0" * 64, "n": 0}),
    At("counted", [{"start": 0, "stop": 10**9, "panel": {"name": "panels/000001-0.npy", "sha256": "0" * 64, "n": 1}}]),
    At("counted", [{"start": 0, "stop": 1, "panel": {"name": "panels/../x", "sha256": "0" * 64, "n": 1}}]),
    At("samples", [{"name": "soma/x", "sha256": "0" * 64, "n": 1}]), At("empty_columns", [1]), At("draft", "x"),
]  # fmt: skip


@pytest.mark.parametrize("forged", FORGED, ids=str)
def test_forged_manifests_are_refused(tmp_path, content, forged):
    edited = json.loads(json.dumps(content))
    *parents, last = [int(key) if key.isdigit() else key for key in forged.place.split(".")]
    at = edited
    for key in parents:
        at = at[key]
    at[last] = forged.value
    with pytest.raises(FormatError, match=r"/atlas.json' (is not what it should be|was edited)"):
        parse_manifest(Storage.of(tmp_path), json.dumps(sealed(edited)).encode())


def test_a_manifest_as_it_is(tmp_path, content):
    storage = Storage.of(tmp_path)
    manifest = parse_manifest(storage, json.dumps(sealed(content)).encode())
    assert manifest.n_rows == content["n_rows"]
    with pytest.raises(FormatError, match=r"atlas.json' has changed since it was written.*verify\(uri, repair=True\)"):
        parse_manifest(storage, json.dumps(content).encode())
    with pytest.raises(FormatError, match=r"atlas.json' is not readable JSON"):
        parse_manifest(storage, b"[" * 10**5)


def test_an_atlas_of_more_cells_than_its_store_has_room_for(tmp_path, atlas_path):
    shutil.copytree(atlas_path, tmp_path / "a.scim")

    def edit(content):
        content["n_rows"] = content["n_obs"] = content["names"][0]["n"] = 1 << 40

    edit_manifest(tmp_path / "a.scim", edit, copy=True)
    for read in ("ids", "labels", "columns"):
        with (
            scim.atlas.open(tmp_path / "a.scim") as atlas,
            pytest.raises(FormatError, match="soma' has room for .* cells, but atlas.json lists 1,099,511,627,776"),
        ):
            getattr(atlas, read)
    assert any("has room for" in problem.what for problem in scim.atlas.verify(tmp_path / "a.scim"))


@pytest.fixture
def storage(tmp_path):
    return Storage.of(tmp_path)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 4, 9], None),
        ([], None),
        ([0, 4, 10], "has values from 0 to 10, expected 0 to 9"),
        ([-1, 4], "has values from -1 to 4"),
        ([4, 4], "has ids that do not ascend"),
        ([4, 3], "has ids that do not ascend"),
        ([0.0, 1.0], "holds float64"),
        ([[0, 1]], "holds int64 of shape"),
        (["a"], "holds <U1"),
    ],
)
def test_forged_ids(storage, ids, message):
    array = np.array(ids) if ids else np.empty(0, np.int64)
    entry = store_array(storage, "removed/000001.npy", array)
    if message is None:
        assert load_ids(storage, entry, 10).tolist() == ids
        return
    with pytest.raises(FormatError, match=f"removed/000001.npy' {message}.*verify"):
        load_ids(storage, entry, 10)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[5, 5, 9], [2, 0, 1]], np.uint64), None),
        (np.array([[9, 5], [0, 1]], np.uint64), "is not sorted"),
        (np.array([[5, 9], [0, 10]], np.uint64), "has values from 0 to 10"),
        (np.array([[5, 9], [0, 1]], np.int64), "holds int64"),
        (np.array([5, 9], np.uint64), "holds uint64 of shape"),
        (np.zeros((3, 2), np.uint64), "holds uint64 of shape"),
    ],
)
def test_forged_names(storage, array, message):
    entry = store_array(storage, "names/000001.npy", array)
    if message is None:
        np.testing.assert_array_equal(load_names(storage, entry, 10), array)
        return
    with pytest.raises(FormatError, match=f"names/000001.npy' {message}.*verify"):
        load_names(storage, entry, 10)


def sample(**changes):
    """Return the arrays of a sample of three cells and two genes."""
    arrays = {
        "ids": np.array([0, 3, 9]), "genes": np.array(["a", "b"]), "indptr": np.array([0, 2, 2, 3]),
        "indices": np.array([0, 1, 1], np.uint8), "counts": np.array([1, 2, 3], np.uint16),
    }  # fmt: skip
    return {**arrays, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": np.array([0, 3, 10])}, "has values from 0 to 10"),
        ({"ids": np.array([3, 0, 9])}, "has ids that do not ascend"),
        ({"ids": np.array([0, 3])}, "holds int64 of shape"),
        ({"indptr": np.array([0, 2, 1, 3])}, "has rows that do not follow each other"),
        ({"indptr": np.array([0, 2, 2, 1 << 40])}, "has rows that do not follow each other"),
        ({"indptr": np.array([-1, 2, 2, 3])}, "has rows that do not follow each other"),
        ({"indptr": np.array([0, 2, 3])}, "holds int64 of shape"),
        ({"indptr": np.array([0.0, 2, 2, 3])}, "holds float64"),
        ({"indices": np.array([0, 1, 2], np.uint8)}, "has values from 0 to 2, expected None to 1"),
        ({"indices": np.array([0, 1, -1], np.int8)}, "holds int8"),
        ({"indices": np.array([0, 1], np.uint8)}, "holds uint8 of shape"),
        ({"counts": np.array([1, np.nan, 3], np.float32)}, "has values from nan"),
        ({"counts": np.array([1, np.inf, 3])}, "has values from 1.0 to inf"),
        ({"counts": np.array([-1.0, 2, 3])}, "has values from -1.0"),
        ({"genes": np.array([["a", "b"]])}, "holds <U1 of shape"),
        ({"genes": np.array([1, 2])}, "holds int64"),
    ],
)
def test_forged_samples(storage, changes, message):
    entry = store_arrays(storage, "samples/000001-0.npz", sample(**changes), 3)
    with pytest.raises(FormatError, match=f"samples/000001-0.npz' {message}.*verify"):
        read_sample(storage, entry, 10)


def test_a_sample_as_it_is(storage):
    entry = store_arrays(storage, "samples/000001-0.npz", sample(), 3)
    found = read_sample(storage, entry, 10)
    assert found.counts.toarray().tolist() == [[1, 2], [0, 0], [0, 3]]
    assert read_ids(storage, [entry], 10).tolist() == [0, 3, 9]
    lacking = {name: array for name, array in sample().items() if name != "indptr"}
    with pytest.raises(FormatError, match="has no array 'indptr'"):
        read_sample(storage, store_arrays(storage, "samples/000002-0.npz", lacking, 3), 10)
