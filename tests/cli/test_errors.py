"""Messages speak of options and commands, not of arguments and calls."""

from __future__ import annotations

import runpy
import sys
import types

import pytest

import scim
from helpers import fakes
from scim._core import FormatError
from scim.cli import run
from scim.cli._errors import in_words_of_the_shell, reason
from scim.cli._main import _options, app

OPTIONS = _options(app)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("exists already; pass overwrite=True to replace it.", "exists already; pass --overwrite to replace it."),
        ("open it with mode='w' and call build_index().", "run scim atlas index."),
        ("layer='x' not found", "--layer x not found"),
        ("name their layer with layer=.", "name their layer with --layer."),
        ("where='tissue == 1' and", "--where 'tissue == 1' and"),
        ("run scim.tl.embed(adata, atlas) first", "run scim embed first"),
        ("run scim.tl.enrichment(adata, by, sample_key=...) first", "run scim enrichment first"),
        ("scim.atlas.create() makes one", "scim atlas create makes one"),
        ("no draft; reembed(model, publish=False) makes one", "no draft; scim atlas reembed --draft makes one"),
        ("Pass several data sets, or study_key=.", "Pass several data sets, or --study-key."),
        ("needs n_members=1, got 3", "needs --n-members 1, got 3"),
        ("in obs['scim_label']; k=50, K=2", "in obs['scim_label']; --k 50, K=2"),
        ("tissue=['liver'] are no tissues", "--tissue liver are no tissues"),
        ("allow=['T cell', 'B'] of", "--allow ['T cell', 'B'] of"),
        (
            "and are left out; only_similar=False keeps them",
            'and are not counted; the column "similar" of the table marks them',
        ),
        ("max_error must be between 0 and 1; cells must be", "--max-error must be between 0 and 1; cells must be"),
        ("species={...}", "--species {...}"),
        ("label=='T cell' and k==2", "label=='T cell' and k==2"),  # a filter, as it was typed
        ("adata.layers['counts'] of unknown=3", "adata.layers['counts'] of unknown=3"),
    ],
)
def test_arguments_are_options(message, expected):
    assert in_words_of_the_shell(message, OPTIONS) == expected


def test_an_error_that_scim_did_not_raise_names_the_command(monkeypatch, capsys):
    def fail(*_, **__):
        return {}["http://me:PW@host \x1b"]

    monkeypatch.setattr(scim.atlas, "open", fail)
    monkeypatch.setattr(scim.atlas, "verify", lambda *_, **__: int("nine"))
    assert run(["atlas", "info", "my.scim"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(
        r"scim: error: scim atlas info my.scim failed: KeyError: http://***@host \x1b. A file is damaged"
    )
    assert "please report it at https://" in error
    assert error.count("\n") == 1
    monkeypatch.setenv("SCIM_DEBUG", "1")
    assert run(["atlas", "info", "my.scim"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("Traceback (most recent call last):\n")
    assert "PW" not in error
    assert "\x1b" not in error
    assert run(["atlas", "verify", "my.scim"]) == 1
    assert "failed: ValueError: invalid literal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(2, "No such file or directory", "/a/b"), "/a/b: No such file or directory."),
        (MemoryError("Unable to allocate 7 EiB"), "There is not enough memory (Unable to allocate 7 EiB). Pass fewer"),
        (RecursionError("deep"), "scim embed 'a b' failed: RecursionError: deep. A file is damaged"),
        (FormatError("'a' is damaged."), "'a' is damaged."),
    ],
)
def test_reasons(error, line):
    assert reason(error, ["embed", "a b"]).startswith(line)


def test_options_are_those_of_all_commands():
    assert {"overwrite", "groupby", "on_duplicate", "n_steps", "leave_out", "columns"} <= OPTIONS
    assert not {"adata", "copy", "key_added"} & OPTIONS


def test_what_is_no_atlas_is_named(tmp_path, capsys):
    fakes.cells(5).write_h5ad(tmp_path / "query.h5ad")
    path = str(tmp_path / "query.h5ad")
    assert run(["atlas", "verify", path]) == 1
    assert "query.h5ad' is a file, expected a folder." in capsys.readouterr().err
    assert run(["atlas", "info", path]) == 1
    assert "No atlas at" in capsys.readouterr().err


def test_an_atlas_without_an_index_names_the_command(tmp_path, capfd):
    path = str(tmp_path / "new.scim")
    with scim.atlas.create(path, model=fakes.tiny_model()) as atlas:
        atlas.append(fakes.cells(9), study="a", label_key="cell_type")
    fakes.cells(5).write_h5ad(tmp_path / "query.h5ad")
    assert run(["annotate", str(tmp_path / "query.h5ad"), "-o", str(tmp_path / "o.h5ad"), "--atlas", path]) == 1
    assert "has no index; run scim atlas index." in capfd.readouterr().err
    assert run(["atlas", "index", path]) == 0
    assert "built an index (exact) of 9 cells" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "scim: interrupted\n"),
        (
            ValueError("SCIM_CACHE_BYTES must be\na number"),
            1,
            "scim: error: scim could not start: SCIM_CACHE_BYTES must be a ",
        ),
        (ImportError("libtorch.so: cannot open"), 1, "scim: error: scim could not start: libtorch.so: cannot open\n"),
    ],
)
def test_an_import_that_ends_early(monkeypatch, capsys, error, code, line):
    class Broken(types.ModuleType):
        def __getattr__(self, name):
            raise error

    monkeypatch.setitem(sys.modules, "scim.cli", Broken("scim.cli"))
    with pytest.raises(SystemExit) as left:
        runpy.run_module("scim", run_name="__main__")
    assert left.value.code == code
    printed = capsys.readouterr().err
    assert printed.startswith(line)
    assert printed.count("\n") == 1


def test_the_demo_overwrites_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scim.tl, "embed", lambda *_, **__: pytest.fail("embedded"))
    (tmp_path / "labels.png").write_text("mine")
    assert run(["demo", "--output", str(tmp_path)]) == 1
    assert "labels.png exists already; pass --overwrite to replace it." in capsys.readouterr().err
