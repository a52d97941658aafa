"""Nothing that is behind a link in an atlas, or that scim did not write, is read, changed or deleted."""

from __future__ import annotations

import contextlib
import os
import shutil
import time

import pytest

import scim
from helpers import fakes, links
from scim._core import FormatError

# One operation of each kind at each place; the suite in tests/fuzz has all of them, in its long form.
WRITERS = ("append", "vacuum", "repair", "create", "compact", "remove", "build_index", "reembed", "sweep")
PLACES = [
    (place, operation)
    for i, place in enumerate((*links.EXISTING, *links.NEW))
    for operation in dict.fromkeys(("vacuum", WRITERS[i % len(WRITERS)]))
]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = fakes.toy_atlas(tmp_path_factory.mktemp("toy") / "toy.scim")
    with scim.atlas.open(path, "w") as atlas:
        atlas.append(fakes.cells(30, seed=5), study="three", label_key="cell_type", counts=True)
        atlas.build_index()
        atlas.remove("study == 'one' and n < 3")
    return path


@pytest.fixture
def atlas(toy, tmp_path):
    return shutil.copytree(toy, tmp_path / "a.scim", copy_function=os.link)  # no file is ever written in place


@pytest.mark.parametrize(("place", "operation"), PLACES)
def test_a_link_is_refused_by_name(atlas, tmp_path, place, operation):
    link = links.put_link(atlas, place, tmp_path / "outside")
    before = links.fingerprint(tmp_path / "outside")
    if operation == "sweep":  # it looks at few names, and refuses those alone
        with contextlib.suppress(FormatError):
            links.OPERATIONS[operation](atlas)
    else:
        with pytest.raises((FormatError, FileExistsError), match=f"{link.name}.* is a link"):
            links.OPERATIONS[operation](atlas)
    assert links.fingerprint(tmp_path / "outside") == before
    assert link.is_symlink()


@pytest.mark.parametrize("place", [place for place in links.EXISTING if place not in ("models", "panels", "removed")])
def test_a_reader_follows_no_link(atlas, tmp_path, place):
    link = links.put_link(atlas, place, tmp_path / "outside")
    before = links.fingerprint(tmp_path / "outside")
    with pytest.raises((FormatError, OSError), match=link.name):
        links.OPERATIONS["read"](atlas)
    assert links.fingerprint(tmp_path / "outside") == before


@pytest.mark.parametrize("operation", ["append", "vacuum", "repair", "compact"])
def test_files_of_others_are_kept(atlas, operation):
    names = [name for name in links.FOREIGN if not name.startswith("soma/")]
    _put_files(atlas, names)
    links.OPERATIONS[operation](atlas)
    assert [name for name in names if not (atlas / name).is_file()] == []
    assert scim.atlas.open(atlas).n_obs == (197 if operation == "append" else 177)


@pytest.mark.parametrize("name", [name for name in links.FOREIGN if name.startswith("soma/")])
def test_a_file_of_others_in_the_store_is_named_and_kept(atlas, name):
    _put_files(atlas, [name])
    with pytest.raises(FormatError, match=name):
        links.OPERATIONS["append"](atlas)
    assert [problem.where for problem in scim.atlas.verify(atlas, repair=True)] == [name]
    assert (atlas / name).is_file()


def _put_files(atlas, names):
    old = time.time() - 1e6
    for name in names:
        (atlas / name).parent.mkdir(exist_ok=True)
        (atlas / name).write_bytes(b"mine")
        os.utime(atlas / name, (old, old))


def test_an_atlas_with_files_of_others_is_not_replaced(atlas):
    (atlas / "index" / "notes.txt").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"is not replaced: 'index/notes.txt' in it is no file of scim"):
        links.OPERATIONS["create"](atlas)
    (atlas / "index" / "notes.txt").unlink()
    links.OPERATIONS["create"](atlas)


def test_the_atlas_itself_may_be_a_link(atlas, tmp_path):
    (tmp_path / "link.scim").symlink_to(atlas)
    links.OPERATIONS["append"](tmp_path / "link.scim")
    assert scim.atlas.verify(tmp_path / "link.scim") == []
