"""Outputs of the command line are checked before any work."""

from __future__ import annotations

import pytest

from helpers import fakes
from scim.cli import run
from scim.cli._files import write_cells


@pytest.fixture
def query(tmp_path, monkeypatch):
    path = tmp_path / "query.h5ad"
    fakes.cells(9).write_h5ad(path)
    monkeypatch.setattr(
        "scim.io.cells.read_adata", lambda path: pytest.fail("cells were read before the output was checked")
    )
    return path


def refused(arguments, message, capsys):
    assert run([str(argument) for argument in arguments]) == 1
    assert message in capsys.readouterr().err


OUTPUTS = [
    # the report, the output, beside the query; the message
    ("vdemichev/DiaNN#720", "no/such/folder/out.csv", "its folder does not exist"),
    ("", "query.h5ad/out.csv", "is the input, or lies in it"),
    ("", "query.h5ad", "is the input"),
    ("", "../{folder}/query.h5ad", "is the input"),
    ("", "out", "expected an output ending in .h5ad"),
    ("", "out.txt", "expected an output ending in .h5ad"),
    ("", "folder.csv", "is not replaced: it is a folder"),
    ("", "folder.h5ad", "is not replaced: it is a folder"),
    ("", "file.zarr", "is not replaced: it is a file"),
    ("", f"{'a' * 250}.csv", "is too long"),
]


@pytest.mark.parametrize(("report", "output", "message"), OUTPUTS)
@pytest.mark.parametrize("command", ["annotate", "search"])
def test_outputs_that_cannot_be_written(report, output, message, command, query, atlas_path, capsys):
    for name in ("folder.csv", "folder.h5ad"):
        (query.parent / name).mkdir()
    (query.parent / "file.zarr").write_text("a file")
    path = query.parent / output.format(folder=query.parent.name)
    refused([command, query, "-o", path, "--atlas", atlas_path, "--overwrite"], message, capsys)


def test_a_folder_that_cannot_be_written(query, atlas_path, capsys):
    """/proc takes no files, whoever asks; permissions do not bind the superuser."""
    refused(["annotate", query, "-o", "/proc/out.csv", "--atlas", atlas_path], "cannot be written", capsys)
    refused(["demo", "/proc/scim-demo"], "/proc/scim-demo cannot be made", capsys)


def test_outputs_of_a_training(query, capsys):
    train = ["model", "train", query, "--label-key", "cell_type"]
    refused([*train, "-o", query, "--overwrite"], "is the input", capsys)
    refused([*train, "-o", query.parent / "m", "--checkpoint", query], "is a file; expected a folder", capsys)
    refused([*train, "-o", query.parent / "m", "--checkpoint", "/proc/a/b"], "cannot be written", capsys)
    refused([*train, "-o", "/proc/m"], "cannot be written", capsys)
    assert sorted(path.name for path in query.parent.iterdir()) == ["query.h5ad"]


@pytest.mark.parametrize("name", ["out.h5ad", "out.zarr"])
def test_cells_that_cannot_be_stored(tmp_path, name):
    cells = fakes.cells(3)
    cells.uns["a"] = object()
    with pytest.raises(ValueError, match=r"cannot be written to .*Name an output of another kind"):
        write_cells(cells, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_results_with_a_password(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    refused(["demo", "me:PW@host"], "'***@host' is an address with credentials", capsys)
    assert list(tmp_path.iterdir()) == []
