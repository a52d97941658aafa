"""`scim atlas` over the life of an atlas: verify, remove, reembed, compact."""

from __future__ import annotations

import pytest

import scim
from helpers import census, fakes
from scim.cli._main import run


@pytest.fixture
def atlas(tmp_path):
    path = str(tmp_path / "my.scim")
    with scim.atlas.create(path, model=fakes.tiny_model()) as made:
        for i, study in enumerate("ab"):
            made.append(fakes.cells(20, seed=i), study=study, label_key="cell_type", counts=True)
        made.build_index()
    return path


def test_verify_reports_and_repairs(atlas, tmp_path, capsys):
    assert run(["atlas", "verify", atlas]) == 0
    assert capsys.readouterr().out == f"{atlas}: all is well\n"
    rows = next((tmp_path / "my.scim" / "index").glob("*/rows.npy"))
    rows.write_bytes(rows.read_bytes()[:-9])
    assert run(["atlas", "verify", atlas]) == 1
    printed = capsys.readouterr().out
    assert "index: index/v000004" in printed
    assert "(--repair repairs it)" in printed
    assert run(["atlas", "verify", atlas, "--repair"]) == 0
    assert run(["atlas", "verify", atlas]) == 0
    fragment = next((tmp_path / "my.scim" / "soma" / "obs" / "__fragments").rglob("a0_var.tdb"))
    fragment.unlink()
    capsys.readouterr()
    assert run(["atlas", "verify", atlas, "--repair"]) == 1
    printed = capsys.readouterr().out
    assert f"store: {fragment.relative_to(tmp_path / 'my.scim')}: is missing" in printed
    assert printed.splitlines()[-1].startswith(f"{atlas}: ")


def test_cells_are_removed_and_the_rest_is_compacted(atlas, capsys):
    assert run(["atlas", "remove", atlas, "--where", "study == 'a'"]) == 0
    printed = capsys.readouterr().out
    assert "removed 20 cells" in printed
    assert "20 cells, index of 20," in printed
    assert run(["atlas", "info", atlas]) == 0
    assert "index:   20 cells in 40 rows (index/v000004 40)" in capsys.readouterr().out
    assert run(["atlas", "compact", atlas, "--vacuum"]) == 0
    assert "MB freed" in capsys.readouterr().out
    assert run(["atlas", "info", atlas]) == 0
    printed = capsys.readouterr().out
    assert "20 cells, 20 removed" in printed
    assert "index:   20 cells (index/" in printed
    assert "compaction" not in printed  # that version is vacuumed
    assert "vacuum" in printed
    assert run(["atlas", "remove", atlas, "--where", "stuy == 'a'"]) == 1
    assert "no column 'stuy'" in capsys.readouterr().err


def test_a_draft_is_published(atlas, tmp_path, capsys):
    fakes.tiny_model(seed=3).save(tmp_path / "model")
    assert run(["atlas", "reembed", atlas, "--model", str(tmp_path / "model"), "--draft"]) == 0
    assert run(["atlas", "info", atlas]) == 0
    assert f"draft:   model {fakes.tiny_model(seed=3).uid}, 40 cells" in capsys.readouterr().out
    assert run(["atlas", "publish", atlas]) == 0
    with scim.atlas.open(atlas) as opened:
        assert opened.model_uid == fakes.tiny_model(seed=3).uid
    assert run(["atlas", "publish", atlas]) == 1
    assert "has no draft" in capsys.readouterr().err


def test_tissues_and_labels_of_few_cells_are_shown(atlas, atlas_path, capsys):
    assert run(["atlas", "info", str(atlas_path)]) == 0
    printed = capsys.readouterr().out
    assert "\ntissue    cells\nblood        75\nlung         75\n" in printed
    assert "labels of fewer than" not in printed
    assert run(["atlas", "info", atlas]) == 0
    printed = capsys.readouterr().out
    assert "\ntissue " not in printed
    assert "labels of fewer than 30 cells: T cell, B cell, classical monocyte" in printed


def test_earlier_versions_are_shown(atlas, capsys):
    assert run(["atlas", "info", atlas, "--at", "2"]) == 0
    assert "my.scim: 20 cells\n" in capsys.readouterr().out
    assert run(["atlas", "info", atlas, "--at", "2001-01-01"]) == 1
    assert "no version as old as" in capsys.readouterr().err


def test_cells_are_added_once(atlas, tmp_path, capsys):
    fakes.cells(30, seed=0).write_h5ad(tmp_path / "a.h5ad")
    append = ["atlas", "append", atlas, str(tmp_path / "a.h5ad"), "--label-key", "cell_type"]
    assert run(append) == 1
    assert "20 cells of study" in capsys.readouterr().err
    assert run([*append, "--on-duplicate", "skip"]) == 0
    assert "added 10 cells" in capsys.readouterr().out


def test_cells_of_the_census(tmp_path, atlas, capsys):
    census.write(tmp_path / "census")
    where = "tissue_general == 'lung' and is_primary_data == True"
    model = str(tmp_path / "my.scim" / "model")
    made = str(tmp_path / "lung.scim")
    assert run(["atlas", "from-soma", str(tmp_path / "census"), made, "--model", model, "--where", where]) == 0
    assert "index of" in capsys.readouterr().out
    with scim.atlas.open(made) as opened:
        assert set(opened.obs()["tissue_general"]) == {"lung"}
