"""Paths as people have them: whatever works on the disk works for an atlas, or is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import scim
from helpers import fakes
from scim.atlas.storage import Storage
from scim.io import local_path

# Names that work for everything, with the public report of another tool that they stand for.
GOOD = {
    "a%20b": "mar-file-system/GUFI#126",
    "100%": "mar-file-system/GUFI#126",
    " both ends ": "",
    "dot.": "",
    "$HOME": "",
    "a*[b]": "",
    "über 日本": "",
    "co:lon;&=+,@!": "",
    'it\'s "quoted"': "",
    "back\\slash": "",
}
# Characters that TileDB-SOMA takes for parts of an address: arrays would be written beside the atlas.
SPECIAL = {"#": "", "?": "consbio/mbtileserver#96", "\n": "", "\r": "", "\t": ""}
ADDRESSES = {
    "file:///data/atlas": "without 'file://'",
    "file:/data/atlas": "without 'file://'",
    "gs://bucket/atlas": "not a path on this machine",
    "s3:/bucket/atlas": "on S3 as text: 's3://bucket/name'",
}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def model():
    return fakes.tiny_model()


@pytest.fixture
def index():
    return scim.index.build(np.eye(5, 8, dtype=np.float32), kind="exact")


@pytest.mark.parametrize("name", GOOD)
def test_a_name_works_for_atlas_model_and_index(tmp_path, model, index, name):
    folder = tmp_path / name  # the name of a parent folder, and of each
    with scim.atlas.create(folder / f"atlas {name}", model=model) as atlas:
        assert atlas.uri == str(folder / f"atlas {name}")
    with scim.atlas.open(folder / f"atlas {name}") as atlas:
        assert atlas.model.uid == model.uid
    model.save(folder / f"model {name}")
    assert scim.model.load(folder / f"model {name}").uid == model.uid
    index.save(folder / f"index {name}")
    assert scim.index.open(folder / f"index {name}").query(np.eye(1, 8, dtype=np.float32), 1).ids.tolist() == [[0]]
    assert names_in(tmp_path) == [name]
    assert names_in(folder) == sorted(f"{what} {name}" for what in ("atlas", "index", "model"))


def test_an_atlas_under_an_odd_name_takes_cells_and_finds_them(tmp_path, model):
    path = tmp_path / "50% [of] 'all' ü" / " atlas. "
    cells = fakes.cells(40, seed=2)
    file = tmp_path / "q#1? %20.h5ad"  # a file of cells may have any name
    cells.write_h5ad(file)
    with scim.atlas.create(path, model=model) as atlas:
        assert atlas.append(file, study="one", label_key="cell_type") == 40
        atlas.build_index()
    scim.tl.embed(cells, path)
    scim.tl.search(cells, path, k=1)
    np.testing.assert_array_equal(cells.obsm["scim_search_ids"][:, 0], np.arange(40))
    assert scim.atlas.verify(path) == []
    assert names_in(tmp_path) == sorted([file.name, path.parent.name])


@pytest.mark.parametrize("character", SPECIAL)
@pytest.mark.parametrize("place", ["name", "parent"])
def test_an_atlas_is_refused_before_anything_is_written(tmp_path, model, character, place):
    path = tmp_path / f"a{character}b" if place == "name" else tmp_path / f"a{character}b" / "atlas"
    cells = fakes.cells(10)
    cells.obsm["X_other"] = np.eye(10, 4)
    made = [
        lambda: scim.atlas.create(path, model=model),
        lambda: scim.atlas.from_embedding(cells, path, obsm="X_other", study="one"),
        lambda: scim.atlas.from_soma(scim.atlas.PACKAGED / "soma", path, model=model),
    ]
    for make in made:
        with pytest.raises(ValueError, match="has the character .*rename") as error:
            make()
        assert repr(character)[1:-1] in str(error.value)
    assert names_in(tmp_path) == []


def test_a_link_can_give_an_atlas_another_name(tmp_path, model):
    (tmp_path / "plain").mkdir()
    (tmp_path / "run #3").symlink_to(tmp_path / "plain", target_is_directory=True)
    with scim.atlas.create(tmp_path / "run #3" / "atlas", model=model) as atlas:
        assert atlas.uri == str(tmp_path / "plain" / "atlas")


@pytest.mark.parametrize("path", [*ADDRESSES, Path("s3://bucket/atlas")])
def test_an_address_is_no_path(tmp_path, monkeypatch, model, index, path):
    monkeypatch.chdir(tmp_path)
    match = ADDRESSES[str(path)]
    for write in (model.save, index.save, lambda to: scim.atlas.create(to, model=model)):
        with pytest.raises(ValueError, match=match):
            write(path)
    assert names_in(tmp_path) == []


def test_a_model_is_not_saved_on_s3(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)  # a folder "s3:" was made here
    with pytest.raises(ValueError, match="only for an atlas or an experiment"):
        model.save("s3://bucket/model")
    assert names_in(tmp_path) == []


def test_addresses_on_s3_stay_as_they_are():
    assert Storage.of("s3://bucket/a #1? %20").uri == "s3://bucket/a #1? %20"


def test_the_home_folder_is_meant_by_a_tilde(tmp_path, monkeypatch, model):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    model.save("~/model")
    assert scim.model.load("~/model").uid == model.uid
    assert names_in(tmp_path) == ["model"]
    with pytest.raises(ValueError, match=r"no such home folder; write './~none-of-that-name/x'"):
        model.save("~none-of-that-name/x")


@pytest.mark.parametrize(
    ("path", "error", "match"),
    [
        ("", ValueError, "empty text"),
        (3, TypeError, "got int"),
        (b"a", TypeError, "got bytes"),
        ("a\0b", ValueError, r"the character '\\x00'"),
        ("a\udc80b", ValueError, "not valid text"),
        ("x" * 250, ValueError, "too long: its longest name has 250 bytes, expected at most 241"),
        ("ü" * 125, ValueError, "too long: its longest name has 250 bytes"),
        ("x/" * 2000, ValueError, "expected at most 3583"),
    ],
)
def test_a_path_that_cannot_be_is_refused(tmp_path, monkeypatch, model, path, error, match):
    monkeypatch.chdir(tmp_path)
    for write in (model.save, lambda to: scim.atlas.create(to, model=model)):
        with pytest.raises(error, match=match):
            write(path)
    assert names_in(tmp_path) == []


def test_checkpoints_are_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="not a path on this machine"):
        scim.model.train(scim.datasets.toy(60), label_key="cell_type", study_key="sample", checkpoint="s3://bucket/run")
    assert names_in(tmp_path) == []


def test_a_relative_path_is_taken_from_where_it_was_given(tmp_path, monkeypatch, model, index):
    (tmp_path / "later").mkdir()
    monkeypatch.chdir(tmp_path)
    index.save("index")
    opened = scim.index.open("index")
    with scim.atlas.create("atlas", model=model) as atlas:
        monkeypatch.chdir(tmp_path / "later")
        atlas.append(fakes.cells(20), study="one", label_key="cell_type")
        atlas.build_index()
        assert len(atlas.obs()) == 20
    assert opened.query(np.eye(1, 8, dtype=np.float32), 1).ids.tolist() == [[0]]
    assert names_in(tmp_path / "later") == []


def test_a_path_is_absolute_and_keeps_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert local_path(" a ") == tmp_path / " a "
    assert local_path("x/../y") == tmp_path / "x" / ".." / "y"
