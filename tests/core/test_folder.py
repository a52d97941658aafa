from __future__ import annotations

import pytest

from scim._core import new_folder, read_json, write_json


def test_a_folder_appears_when_it_is_complete(tmp_path):
    with new_folder(tmp_path / "a", marker="m") as folder:
        (folder / "m").touch()
        assert not (tmp_path / "a").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("exists", [True, False])
def test_after_an_error_all_is_as_before(tmp_path, exists):
    if exists:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "m").write_text("old")

    def stop_half_way():
        with new_folder(tmp_path / "a", marker="m", overwrite=True) as folder:
            (folder / "m").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    assert [p.name for p in tmp_path.iterdir()] == ["a"] * exists
    assert not exists or (tmp_path / "a" / "m").read_text() == "old"


def test_overwrite_replaces_its_own_kind_and_empty_folders(tmp_path):
    for before in ("old", None):
        (tmp_path / "a").mkdir(exist_ok=True)
        for file in (tmp_path / "a").iterdir():
            file.unlink()
        if before:
            (tmp_path / "a" / "m").write_text(before)
        with new_folder(tmp_path / "a", marker="m", overwrite=True) as folder:
            (folder / "m").write_text("new")
        assert (tmp_path / "a" / "m").read_text() == "new"


def test_what_is_something_else_stays(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis").touch()
    for name in ("file", "folder"):
        with (
            pytest.raises(FileExistsError, match="is not replaced: it has no 'm'"),
            new_folder(tmp_path / name, marker="m", overwrite=True),
        ):
            pass
        with pytest.raises(FileExistsError, match="pass overwrite=True"), new_folder(tmp_path / name, marker="m"):
            pass
    assert (tmp_path / "file").read_text() == "x"
    assert (tmp_path / "folder" / "thesis").exists()


def test_json_is_replaced_in_one_step(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": object()})
    assert read_json(tmp_path / "a.json", kind="thing") == {"x": 1}
