"""A published folder, a copy of it to change, and the atlas that is made of it."""

from __future__ import annotations

import shutil

import pytest

import scim
from helpers import published
from helpers.folders import LABELS
from scim.scimilarity.atlas import _cells


@pytest.fixture
def small_steps(monkeypatch):
    """Several steps of few rows each."""
    monkeypatch.setattr(_cells, "STEP", 100)
    monkeypatch.setattr("scim.scimilarity.atlas._import.STEP", 100)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of 300 cells, two of them deleted, and 7 that only the annotation has."""
    path = tmp_path_factory.mktemp("published") / "model"
    cells = published.Cells(300, n_labels=len(LABELS))
    return published.write_folder(path, cells, labels=LABELS, n_outside=7, deleted=[11, 250])


@pytest.fixture
def folder(made, tmp_path):
    """A copy to change."""
    shutil.copytree(made.path, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def atlas(made, tmp_path_factory):
    with scim.scimilarity.import_atlas(made.path, tmp_path_factory.mktemp("atlas") / "a.scim") as atlas:
        yield atlas
