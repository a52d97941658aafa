"""`--species mouse` of every command that reads counts."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import scim
from helpers import census, fakes
from scim.cli import run


@pytest.fixture
def query(tmp_path):
    """A file of cells of a mouse; its cells and the same with human genes."""
    mouse, human = fakes.of_a_mouse(fakes.cells(30, seed=9))
    mouse.write_h5ad(tmp_path / "mouse.h5ad")
    return str(tmp_path / "mouse.h5ad"), human


def test_annotate(query, atlas_path, tmp_path, capsys):
    file, human = query
    how = ["annotate", file, "-o", str(tmp_path / "out.h5ad"), "--atlas", str(atlas_path)]
    assert run(how) == 1
    assert "they look like mouse genes: pass --species mouse" in capsys.readouterr().err
    assert run([*how, "--species", "mouse"]) == 0
    scim.tl.embed(human, atlas_path)
    scim.tl.annotate(human, atlas_path)
    assert anndata.read_h5ad(tmp_path / "out.h5ad").obs["scim_label"].tolist() == human.obs["scim_label"].tolist()
    assert run([*how, "--overwrite", "--species", "rat"]) == 2
    assert 'Choose from: "human", "mouse"' in capsys.readouterr().err


def test_search(query, atlas_path, tmp_path):
    file, human = query
    how = ["--groupby", "cell_type", "--k", "4", "--species", "mouse", "--atlas", str(atlas_path)]
    assert run(["search", file, "-o", str(tmp_path / "hits.csv"), *how]) == 0
    scim.tl.embed(human, atlas_path)
    scim.tl.search(human, atlas_path, groupby="cell_type", k=4)
    assert pd.read_csv(tmp_path / "hits.csv")["id"].tolist() == scim.get.hits(human, only_similar=False)["id"].tolist()


def test_append(query, tmp_path):
    with scim.atlas.create(tmp_path / "a.scim", model=fakes.tiny_model()) as atlas:
        atlas.append(query[1], study="human")
    assert run(["atlas", "append", str(tmp_path / "a.scim"), query[0], "--species", "mouse"]) == 0
    with scim.atlas.open(tmp_path / "a.scim") as atlas:
        np.testing.assert_allclose(*np.split(atlas.embeddings(), 2), atol=1e-6)


def test_from_soma(tmp_path, atlas_path):
    truth = census.write(tmp_path / "mouse", mouse=True)
    how = ["--model", str(atlas_path / "model"), "--species", "mouse"]
    assert run(["atlas", "from-soma", str(tmp_path / "mouse"), str(tmp_path / "a.scim"), *how]) == 0
    with scim.atlas.open(tmp_path / "a.scim") as atlas:
        assert atlas.n_obs == len(truth.obs)
