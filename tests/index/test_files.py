"""Damaged, foreign and newer folders are errors that say so."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import scim
from scim.index import _files

from .conftest import clusters

FormatError = scim._core.errors.FormatError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved")
    for kind in ("exact", "ivf", "graph"):
        scim.index.build(clusters(60), kind=kind, rng=0).save(path / kind)
    return path


@pytest.fixture
def folder(saved, tmp_path, kind):
    return shutil.copytree(saved / kind, tmp_path / kind)


def change_header(folder, **changes):
    header = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**header, **changes}))


def sign(folder, **changes):
    """Change the header and its checksum, as a faulty writer would."""
    change_header(folder, **changes)
    header = json.loads((folder / "index.json").read_text())
    header.pop("sha256")
    change_header(folder, sha256=_files._digest(header))


def arrays(folder):
    return sorted(folder.glob("*.npy"))


def test_truncated(folder):
    for file in arrays(folder):
        content = file.read_bytes()
        file.write_bytes(content[:-4])
        for read in (scim.index.open, scim.index.verify):
            with pytest.raises(FormatError, match=rf"{file.name}' has {len(content) - 4} bytes, expected .* truncated"):
                read(folder)
        file.write_bytes(content)
    scim.index.open(folder)


def test_missing(folder):
    for file in arrays(folder):
        file.rename(folder / "aside")
        with pytest.raises(FormatError, match=f"{file.name}' is missing. Build it again with `scim.index.build`"):
            scim.index.open(folder)
        (folder / "aside").rename(file)


def test_flipped_bit(folder):
    for file in arrays(folder):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with pytest.raises(FormatError, match=f"{file.name}' has changed since it was saved: its checksum differs"):
            scim.index.verify(folder)
        content[-1] ^= 1
        file.write_bytes(content)
    scim.index.verify(folder)


def test_garbage_of_the_right_size(folder):
    file = arrays(folder)[0]
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises(FormatError, match=f"{file.name}' is not a readable npy file"):
        scim.index.open(folder)


def test_another_array_of_the_right_size(folder):
    ids = np.load(folder / "ids.npy")
    np.save(folder / "ids.npy", ids.view(np.float64))
    with pytest.raises(FormatError, match=r"ids.npy' holds <f8 \(60,\), expected <i8 \(60,\)"):
        scim.index.open(folder)


@pytest.mark.parametrize("change", [{"n_rows": 61}, {"kind": "other"}, {"params": {"n_probes": 0}}, {"sha256": "0"}])
def test_flipped_value(folder, change):
    change_header(folder, **change)
    with pytest.raises(FormatError, match=r"index.json' has changed since it was saved"):
        scim.index.open(folder)


def test_contents_that_disagree(folder, kind):
    header = json.loads((folder / "index.json").read_text())
    sign(folder, n_rows=61)
    with pytest.raises(FormatError, match=r"ids.npy' has shape \(60,\), expected \(61,\)"):
        scim.index.open(folder)
    sign(folder, n_rows=60, files={"ids": header["files"]["ids"]})
    with pytest.raises(FormatError, match=rf"lists the arrays \['ids'\], not those of '{kind}'"):
        scim.index.open(folder)
    sign(folder, kind="other")
    with pytest.raises(FormatError, match="has kind 'other', expected one of"):
        scim.index.open(folder)


def test_lists_that_do_not_follow_each_other(saved, tmp_path):
    folder = shutil.copytree(saved / "ivf", tmp_path / "ivf")
    starts = np.load(folder / "starts.npy")
    starts[1] = starts[-1] + 1
    np.save(folder / "starts.npy", starts)
    with pytest.raises(FormatError, match=r"lists in 'starts.npy' do not follow each other"):
        scim.index.open(folder)


def test_other_versions_and_formats(folder):
    change_header(folder, version=2)
    with pytest.raises(FormatError, match=r"has version 2, this scim reads 1. Update scim"):
        scim.index.open(folder)
    change_header(folder, format="another")
    with pytest.raises(FormatError, match="not of a scim index: format 'another', expected 'scim-index'"):
        scim.index.open(folder)
    (folder / "index.json").write_text("{")
    with pytest.raises(FormatError, match="not readable JSON"):
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
    assert list(tmp_path.iterdir()) == []


def test_an_opened_index_stays_on_disk(folder):
    index = scim.index.open(folder)
    assert all(isinstance(array.base, np.memmap) for array in index._arrays().values() if array.size)
    files = {file: file.read_bytes() for file in folder.iterdir()}
    index.query(clusters(60), 5)
    assert files == {file: file.read_bytes() for file in folder.iterdir()}
