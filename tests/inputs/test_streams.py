"""Processes whose standard streams are missing, closed, odd, full or a pipe that nobody reads."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import warnings

import pytest

import scim
from scim._core import ScimWarning, logger, progress, warn


class Plain:
    """A stream that can only be written to, as programs with windows have."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


# None under pythonw (tqdm/tqdm#1654, tqdm/tqdm#1593); without isatty (stanfordnlp/stanza#1367).
STREAMS = {"none": lambda: None, "closed": closed, "plain": Plain, "text": io.StringIO}


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("wanted", [None, False])
def test_bars_switch_themselves_off(monkeypatch, kind, wanted):
    stream = STREAMS[kind]()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(scim.settings, "progress", wanted)
    assert list(progress(range(3), desc="cells")) == [0, 1, 2]
    with progress(total=3) as bar:
        bar.update(3)
    assert getattr(stream, "text", "") == ""


@pytest.mark.parametrize("kind", ["none", "closed"])
def test_a_bar_that_is_wanted_needs_a_stream(monkeypatch, kind):
    monkeypatch.setattr(sys, "stderr", STREAMS[kind]())
    monkeypatch.setattr(scim.settings, "progress", True)
    assert list(progress(range(3))) == [0, 1, 2]


def test_a_bar_that_is_wanted_is_drawn(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(scim.settings, "progress", True)
    list(progress(range(3), desc="cells"))
    assert "cells" in stream.getvalue()


@pytest.mark.parametrize("kind", STREAMS)
def test_tools_run_without_a_stream(monkeypatch, kind):
    monkeypatch.setattr(sys, "stderr", STREAMS[kind]())
    adata = scim.datasets.toy(20)
    model = scim.atlas.open().model
    counts = scim.pp.find_counts(adata)
    monkeypatch.setattr(logger, "handlers", [])
    with pytest.warns(ScimWarning, match="of the model's 2000 genes"):
        assert model.embed(counts, scim.pp.match_genes(counts.var, model.genes)).shape == (20, 64)


def test_a_warning_that_cannot_be_shown_is_no_failure(monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", lambda *_, **__: closed().write(""))
        monkeypatch.setattr(sys, "stderr", closed())
        warn("of something")


def test_a_warning_that_is_an_error_stays_one(monkeypatch):
    monkeypatch.setattr(sys, "stderr", closed())
    with pytest.raises(ScimWarning, match="of something"):
        warn("of something")


def test_the_log_needs_no_stream(monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(sys, "stderr", closed())
    logger.warning("of something")
    seen = io.StringIO()
    handler = logging.StreamHandler(seen)
    logger.addHandler(handler)
    try:
        logger.warning("to a file")
    finally:
        logger.removeHandler(handler)
    assert seen.getvalue() == "to a file\n"


# A command line of the shell: its exit code, and what must be, and must not be, in what it prints.
COMMANDS = {
    "--version >&-": (0, "", "rror"),
    "--version >&- 2>&-": (0, "", "rror"),
    "atlas info no-such-atlas 2>&-": (1, "", "Traceback"),
    "atlas info no-such-atlas >&-": (1, "No atlas at", "Traceback"),
    "atlas info >/dev/full": (1, "No space left", "Traceback"),
    "atlas info | true": (0, "", "rror"),
    "--help | head -n 1": (0, "Usage", "rror"),
}


@pytest.mark.slow  # each starts the command line, which takes seconds to load
@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")
@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_leaves_with_the_right_code(tmp_path, command):
    code, shown, hidden = COMMANDS[command]
    line = f'"{sys.executable}" -m scim {command}'
    done = subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False
    )
    assert done.returncode == code, done.stderr
    assert shown in done.stdout + done.stderr
    assert hidden not in done.stderr


@pytest.mark.slow  # as above
def test_output_that_the_terminal_cannot_show_is_no_failure(tmp_path, atlas_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    link = tmp_path / "über"
    link.mkdir()
    adata = scim.datasets.toy(12)
    adata.obs["sample"] = "é"
    with scim.atlas.create(link / "a", model=atlas_path / "model") as atlas:
        atlas.append(adata, study_key="sample", label_key="cell_type")
    command = [sys.executable, "-m", "scim", "atlas", "info", str(link / "a")]
    done = subprocess.run(command, capture_output=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert rb"\xe9" in done.stdout
