"""The commands that embed, explain, test, train and evaluate give what the functions give, and write nothing twice."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes
from scim.cli import run
from scim.cli._main import app

ROOT = Path(__file__).parents[2]


@pytest.fixture
def query(tmp_path):
    fakes.cells(30, seed=9).write_h5ad(tmp_path / "query.h5ad")
    return str(tmp_path / "query.h5ad")


@pytest.fixture
def atlas(atlas_path):
    return ["--atlas", str(atlas_path)]


def embedded(atlas_path):
    cells = fakes.cells(30, seed=9)
    scim.tl.embed(cells, atlas_path)
    return cells


@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
@pytest.mark.filterwarnings("ignore:The data type:zarr.errors.UnstableSpecificationWarning")
def test_embed_writes_cells_or_rows(query, atlas, atlas_path, tmp_path, capsys):
    expected = embedded(atlas_path)
    outputs = [tmp_path / f"out.{kind}" for kind in ("h5ad", "zarr", "npy")]
    for out in outputs:
        assert run(["embed", query, "-o", str(out), *atlas]) == 0
        assert f"wrote {out}: 30 cells, 16 dimensions" in capsys.readouterr().out
    found = [anndata.read_h5ad(outputs[0]), anndata.read_zarr(outputs[1])]
    for cells in found:
        np.testing.assert_array_equal(cells.obsm["X_scim"], expected.obsm["X_scim"])
        assert cells.uns["scim"]["X_scim"]["model"] == expected.uns["scim"]["X_scim"]["model"]
    rows = np.load(outputs[2])
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, expected.obsm["X_scim"])
    for out in outputs:
        assert run(["embed", query, "-o", str(out), *atlas]) == 1
        assert "exists already; pass --overwrite" in capsys.readouterr().err
        assert run(["embed", query, "-o", str(out), "--model", str(atlas_path / "model"), "--overwrite"]) == 0
    (tmp_path / "other.zarr").mkdir()
    assert run(["embed", query, "-o", str(tmp_path / "other.zarr"), "--overwrite", *atlas]) == 1
    assert "is a folder of something else" in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {"query.h5ad", "other.zarr", *(out.name for out in outputs)}


def test_annotate_shows_groups_and_writes_statistics(query, atlas, tmp_path, capsys):
    out = tmp_path / "labels.csv"
    assert run(["annotate", query, "-o", str(out), "--groupby", "cell_type", "--statistics", *atlas]) == 0
    table = pd.read_csv(out)
    assert {"cell", "scim_label", "scim_label_group", "scim_label_vs2nd", "scim_label_hits"} <= set(table)
    printed = capsys.readouterr().out
    assert "runner up share" in printed
    assert printed.count("classical monocyte") == 3  # a label; a group and its label


def test_search_marks_similar_hits(query, atlas, tmp_path):
    out = tmp_path / "hits.csv"
    assert run(["search", query, "-o", str(out), "--groupby", "cell_type", "--k", "120", *atlas]) == 0
    hits = pd.read_csv(out)
    contrast = ["--groupby", "cell_type", "--k", "5", "--centroid", "contrast", *atlas]
    assert run(["search", query, "-o", str(tmp_path / "hits.h5ad"), *contrast]) == 0
    assert anndata.read_h5ad(tmp_path / "hits.h5ad").uns["scim_search"]["params"]["centroid"] == "contrast"
    assert hits["similar"].dtype == bool
    assert hits.groupby("query").size().tolist() == [120] * 3


def test_explain_writes_genes(query, atlas, atlas_path, tmp_path, capsys):
    out = tmp_path / "genes.csv"
    arguments = ["--groupby", "cell_type", "--groups", "T cell", "--n-pairs", "4", "--n-steps", "3", "--top", "5"]
    assert run(["explain", query, "-o", str(out), *arguments, *atlas]) == 0
    cells = fakes.cells(30, seed=9)
    scim.tl.explain(cells, atlas_path, groupby="cell_type", groups="T cell", n_pairs=4, n_steps=3)
    expected = scim.get.attribution(cells, top=5)
    found = pd.read_csv(out)
    assert found["gene"].tolist() == expected["gene"].tolist()
    np.testing.assert_allclose(found["mean"], expected["mean"], rtol=1e-5)
    assert f"T cell: {expected['gene'][0]}, " in capsys.readouterr().out
    assert run(["explain", query, "-o", str(tmp_path / "x.csv"), *atlas]) == 1
    assert "run scim annotate first, or name another column with --groupby" in capsys.readouterr().err


def test_enrichment_is_that_of_the_function(query, atlas, atlas_path, tmp_path, capsys):
    out = tmp_path / "tissues.csv"
    arguments = ["--by", "tissue", "--sample-key", "study", "--groupby", "cell_type", "--k", "20"]
    assert run(["enrichment", query, "-o", str(out), *arguments, *atlas]) == 0
    cells = embedded(atlas_path)
    scim.tl.search(cells, atlas_path, groupby="cell_type", k=20)
    scim.tl.enrichment(cells, "tissue", sample_key="study")
    expected = scim.get.enrichment(cells)
    found = pd.read_csv(out, keep_default_na=True)
    assert found[["query", "value", "n_hits"]].equals(expected[["query", "value", "n_hits"]].astype(found.dtypes[:1]))
    assert "log2_fold_change" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["annotate", "--where", "a == 1"], "no column 'a'"),
        (["annotate", "--max-error", "10"], "--max-error must be between 0 and 1"),
        (["annotate", "--allow", "nothing like it"], "nothing like it"),
        (["annotate", "--level", "no such term"], "no such term"),
        (["annotate", "--tissue", "liver"], "--tissue"),
        (["annotate", "--k", "0"], "--k must be at least 1"),
        (["search", "--where", "tissue == 'lnug'"], "lnug"),
        (["search", "--columns", "tisue"], "The atlas has no column ['tisue']"),
        (["search", "--max-distance", "9"], "between 0 and 2"),
        (["enrichment", "--by", "organ", "--sample-key", "study"], "The atlas has no column ['organ']"),
        (["enrichment", "--by", "tissue", "--sample-key", "donor"], "The atlas has no column ['donor']"),
    ],
)
def test_wrong_arguments_are_refused_before_the_embedding(
    query, atlas, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.setattr(scim.tl, "embed", lambda *_, **__: pytest.fail("embedded"))
    command, *options = arguments
    assert run([command, query, "-o", str(tmp_path / "out.csv"), *options, *atlas]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1  # nothing is logged of the trial
    assert not (tmp_path / "out.csv").exists()


TRAIN = ["--label-key", "cell_type", "--study-key", "sample"]
SMALL = ["--n-steps", "4", "--n-members", "1", "--batch-size", "16", "--n-genes", "20", "--latent-dim", "4"]


def test_a_model_is_trained_and_evaluated(query, tmp_path, capsys):
    model = tmp_path / "my_model"
    train = ["model", "train", query, "-o", str(model), *TRAIN, *SMALL]
    assert run(train) == 0
    assert f"wrote {model}: 30 cells, 3 labels, 2 studies" in capsys.readouterr().out
    made = scim.model.load(model)
    config = scim.model.TrainConfig(n_steps=4, n_members=1, batch_size=16)
    sizes = scim.model.ModelConfig(n_genes=20, latent_dim=4)
    arguments = {"label_key": "cell_type", "study_key": "sample", "config": config, "model": sizes, "rng": 0}
    assert made.uid == scim.model.train(query, **arguments).uid
    assert made.name == "my_model"
    assert run(train) == 1
    assert "exists already; pass --overwrite" in capsys.readouterr().err
    table = tmp_path / "labels.csv"
    evaluate = ["model", "evaluate", str(model), query, *TRAIN, "-o", str(table), "--table", "labels"]
    assert run([*evaluate, "--max-error", "1"]) == 0
    found = scim.model.evaluate(made, query, label_key="cell_type", study_key="sample", max_error=1, rng=0)
    assert pd.read_csv(table)["f1"].tolist() == pytest.approx(found.labels["f1"].tolist())
    printed = capsys.readouterr().out
    assert "macro_f1_ontology" in printed
    assert "The model was trained on sample0, sample1" in printed


def test_an_output_that_is_no_model_is_not_replaced(query, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("scim.training.loop.train", lambda *_, **__: pytest.fail("trained"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    train = ["model", "train", query, "-o", str(tmp_path / "other"), *TRAIN]
    assert run([*train, "--overwrite"]) == 1
    assert "is no model. Name another" in capsys.readouterr().err
    assert run(["model", "train", "-o", str(tmp_path / "new"), *TRAIN]) == 1
    assert "Expected one or more .h5ad or .zarr files" in capsys.readouterr().err
    assert run(["model", "train", query, "-o", str(tmp_path / "new"), *TRAIN, "--objective", "magic"]) == 1
    assert "--objective must be one of" in capsys.readouterr().err


def test_the_paper_has_a_recipe_and_atlases_are_opened(query, atlas_path, tmp_path, monkeypatch):
    seen = {}

    def train(data, **arguments):
        seen.update(arguments, data=[type(part).__name__ for part in data])
        msg = "enough"
        raise ValueError(msg)

    monkeypatch.setattr("scim.training.loop.train", train)
    files = [query, str(atlas_path)]
    assert (
        run(["model", "train", *files, "-o", str(tmp_path / "m"), *TRAIN, "--recipe", "paper", "--n-steps", "9"]) == 1
    )
    assert seen["data"] == ["PosixPath", "Atlas"]
    assert seen["config"] == scim.model.TrainConfig.paper(n_steps=9)
    assert seen["model"] == scim.model.ModelConfig.paper()
    assert not (tmp_path / "m").exists()


PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("quickstart", "your_own_atlas"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_the_docs_are_understood(page):
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    lines = re.findall(r"^(?:\$ )?scim (.+)$", "\n".join(blocks), re.MULTILINE)
    assert len(lines) >= 7
    for line in lines:
        app.parse_args(shlex.split(line), exit_on_error=False, print_error=False)
