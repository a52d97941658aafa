"""The folder of an index: other versions, headers that contradict the arrays, saves that fail, building into it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import scim
from scim._core import FormatError
from scim.index import _files
from scim.io import describe_file, sealed

from .conftest import assert_equal, clusters, table


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved")
    for kind in ("exact", "ivf", "graph"):
        scim.index.build(clusters(60), np.arange(60) * 2, kind=kind, rng=0).save(path / kind)
    return path


@pytest.fixture
def folder(saved, tmp_path, kind):
    return shutil.copytree(saved / kind, tmp_path / kind)


def change_header(folder, **changes):
    header = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**header, **changes}))


def sign(folder, **changes):
    """Change facts of the first segment and the checksums, as a faulty writer would."""
    header = json.loads((folder / "index.json").read_text())
    header["segments"][0].update(changes)
    for name, entry in header["files"].items():
        entry.update(describe_file(folder / name))
    header.pop("sha256")
    (folder / "index.json").write_text(json.dumps(sealed(header)))


@pytest.mark.parametrize("change", [{"segments": []}, {"files": {}}, {"sha256": "0"}])
def test_flipped_value(folder, change):
    change_header(folder, **change)
    with pytest.raises(
        FormatError, match=r"index.json' has changed since it was written: its checksum differs. Build it again"
    ):
        scim.index.open(folder)


def test_contents_that_disagree(folder, kind):
    names = json.loads((folder / "index.json").read_text())["segments"][0]["arrays"]
    sign(folder, n_rows=61)
    with pytest.raises(FormatError, match=r"index.json' has 61 x 16 rows, the files 60 x 16. Build it again"):
        scim.index.open(folder)
    for arrays, wrong in ((["ids"], r"\w+.npy"), ([*names, "other"], "other.npy")):
        sign(folder, n_rows=60, arrays=arrays)
        with pytest.raises(
            FormatError, match=rf"'{wrong}' is not both an array of a segment and a file.*Build it again"
        ):
            scim.index.open(folder)
    sign(folder, arrays=names, kind="other")
    with pytest.raises(FormatError, match="has kind 'other', expected one of"):
        scim.index.open(folder)


@pytest.mark.parametrize("name", ["rows_starts", "coarse_groups"])
def test_lists_that_do_not_follow_each_other(saved, tmp_path, name):
    folder = shutil.copytree(saved / "ivf", tmp_path / "ivf")
    starts = np.load(folder / f"{name}.npy")
    starts[1 if len(starts) > 2 else 0] = starts[-1] + 1
    np.save(folder / f"{name}.npy", starts)
    sign(folder)
    with pytest.raises(FormatError, match=rf"{name}.npy' holds .* that do not follow each other. Build it again"):
        scim.index.open(folder)


def test_another_array_of_the_right_size(folder):
    ids = np.load(folder / "ids.npy")
    np.save(folder / "ids.npy", ids.view(np.float64))
    sign(folder)
    with pytest.raises(FormatError, match=r"ids.npy' holds <f8 \(60,\), expected <i8 \(60,\)"):
        scim.index.open(folder)


def test_other_versions_and_formats(folder):
    change_header(folder, version=1)
    with pytest.raises(FormatError, match=r"has version 1, this scim reads 2. Update scim"):
        scim.index.open(folder)
    change_header(folder, format="another")
    with pytest.raises(FormatError, match="not of a scim index: format 'another', expected 'scim-index'"):
        scim.index.open(folder)
    for content, match in (("{", "not readable JSON"), ("[1]", "holds a list, expected an object")):
        (folder / "index.json").write_text(content)
        with pytest.raises(FormatError, match=match):
            scim.index.open(folder)
    (folder / "index.json").unlink()
    with pytest.raises(FormatError, match=r"is not a scim index: it has no 'index.json'"):
        scim.index.open(folder)
    with pytest.raises(FileNotFoundError, match="is not a scim index"):
        scim.index.open(folder / "nowhere")


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    index = scim.index.build(clusters(60), kind="exact")
    monkeypatch.setattr(_files, "write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        index.save(tmp_path / "index")
    with pytest.raises(ZeroDivisionError):
        scim.index.build(clusters(60), kind="ivf", path=tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_one(tmp_path, monkeypatch):
    index = scim.index.build(clusters(60), kind="exact")
    index.save(tmp_path / "index")
    monkeypatch.setattr(_files, "write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        index.save(tmp_path / "index", overwrite=True)
    assert_equal(scim.index.open(tmp_path / "index").query(clusters(3), 5), index.query(clusters(3), 5))


def test_an_opened_index_stays_on_disk(folder):
    index = scim.index.open(folder)
    arrays = index._segments[0].engine.arrays()
    large = [array for name, array in arrays.items() if array.size and name not in index._segments[0].engine.small]
    assert all(isinstance(array.base, np.memmap) for array in large)


@pytest.mark.parametrize("with_ids", [False, True])
def test_build_into_a_folder(kind, with_ids, tmp_path):
    base, obs = clusters(500), table(500)
    ids = np.random.default_rng(0).permutation(900)[:500] if with_ids else None
    index = scim.index.build(base, ids, obs=obs, kind=kind, rng=0)
    index.save(tmp_path / "saved")
    built = scim.index.build(base, ids, obs=obs, kind=kind, rng=0, path=tmp_path / "built")
    for file in sorted((tmp_path / "saved").iterdir()):
        assert file.read_bytes() == (tmp_path / "built" / file.name).read_bytes()
    assert len(list((tmp_path / "built").iterdir())) == len(list((tmp_path / "saved").iterdir()))
    assert_equal(built.query(base[:9], 5, where="ok == True"), index.query(base[:9], 5, where="ok == True"))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        scim.index.build(base, kind=kind, path=tmp_path / "built")
    again = scim.index.build(base[:50], kind=kind, path=tmp_path / "built", overwrite=True)
    assert again.n_rows == 50
    scim.index.verify(tmp_path / "built")
