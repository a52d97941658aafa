"""Interrupted imports resume, and their result is that of an uninterrupted one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

import scim
from helpers import published
from helpers.folders import LABELS, refused, same_obs

tiledb = pytest.importorskip("tiledb")


@pytest.mark.usefixtures("small_steps")
def test_in_steps_it_is_the_same(folder, atlas, tmp_path):
    with scim.scimilarity.import_atlas(folder, tmp_path / "a.scim") as other:
        same_obs(atlas, other)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("n_steps", [1, 2, 3, 4])
def test_after_an_error_it_resumes(folder, atlas, tmp_path, monkeypatch, n_steps):
    append, steps = scim.atlas.Atlas._append, []

    def failing(self, *arguments, **how):
        if len(steps) == n_steps:
            msg = "the disk is full"
            raise OSError(msg)
        steps.append(append(self, *arguments, **how))

    with monkeypatch.context() as patched:
        patched.setattr(scim.atlas.Atlas, "_append", failing)
        patched.setattr(scim.atlas.Atlas, "build_index", failing)  # of the last round nothing else fails
        with pytest.raises(OSError, match="the disk is full"):
            scim.scimilarity.import_atlas(folder, tmp_path / "a.scim")
    again = []
    monkeypatch.setattr(
        scim.atlas.Atlas, "_append", lambda self, *a, **how: (again.append(1), append(self, *a, **how))[1]
    )
    with scim.scimilarity.import_atlas(folder, tmp_path / "a.scim") as other:
        same_obs(atlas, other)
    assert len(again) == 4 - n_steps  # 300 rows and the lines beside them, in steps of 100


@pytest.mark.usefixtures("small_steps")
def test_with_other_columns_it_does_not_resume(folder, atlas, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(scim.atlas.Atlas, "build_index", full)
        with pytest.raises(OSError, match="the disk is full"):
            scim.scimilarity.import_atlas(folder, tmp_path / "a.scim", columns=["tissue"])
    with pytest.raises(ValueError, match=r"without \['disease'\]; ask for the same columns"):
        scim.scimilarity.import_atlas(folder, tmp_path / "a.scim", columns=["tissue", "disease"])
    with scim.scimilarity.import_atlas(folder, tmp_path / "a.scim", columns=["tissue"]) as other:
        pd.testing.assert_frame_equal(other.obs(columns=["tissue", "label"]), atlas.obs(columns=["tissue", "label"]))


def full(*_, **__):
    msg = "the disk is full"
    raise OSError(msg)


def test_the_last_step_too_may_be_interrupted(folder, atlas, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(scim.atlas.Atlas, "vacuum", full)
        with pytest.raises(OSError, match="the disk is full"):
            scim.scimilarity.import_atlas(folder, tmp_path / "a.scim")
    with scim.scimilarity.import_atlas(folder, tmp_path / "a.scim") as other:
        same_obs(atlas, other)
        assert len(other.info()["versions"]) == 1


@pytest.mark.usefixtures("small_steps")
def test_an_import_of_another_folder_is_not_resumed(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(scim.atlas.Atlas, "build_index", lambda _: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            scim.scimilarity.import_atlas(folder, tmp_path / "a.scim")
    other = tmp_path / "other"
    published.write_folder(other, published.Cells(300, n_labels=3, n_studies=9, spread=0.9), labels=LABELS)
    refused(other, tmp_path / "a.scim", "it was imported from another folder")
    with scim.scimilarity.import_atlas(other, tmp_path / "a.scim", overwrite=True) as atlas:
        assert atlas.n_obs == 300


def test_an_atlas_that_is_whole_is_not_overwritten(folder, tmp_path):
    scim.scimilarity.import_atlas(folder, tmp_path / "a.scim").close()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        scim.scimilarity.import_atlas(folder, tmp_path / "a.scim")


CHILD = """
import sys, scim
from scim.scimilarity import _cells
_cells.STEP = 20
scim.scimilarity.import_atlas(sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
def test_killed_again_and_again_it_ends_the_same(folder, atlas, tmp_path):
    """SIGKILL at any point: each run resumes, and the last has the result of an uninterrupted run."""
    out, kills = tmp_path / "a.scim", 0
    for wait in (0.1, 0.3, 0.5, 0.8, 1.2):
        process = subprocess.Popen([sys.executable, "-c", CHILD, str(folder), str(out)], stderr=subprocess.DEVNULL)
        while process.poll() is None and not (out / "atlas.json").exists():
            time.sleep(0.01)
        time.sleep(wait)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 1
    done = json.loads((out / "atlas.json").read_text())
    if done["space"]["index"] is None:
        subprocess.run([sys.executable, "-c", CHILD, str(folder), str(out)], check=True, stderr=subprocess.DEVNULL)
    with scim.atlas.open(out) as other:
        same_obs(atlas, other)
    assert scim.atlas.verify(out) == []
