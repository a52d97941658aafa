from __future__ import annotations

import re
import subprocess
import sys

import anndata
import pandas as pd
import pytest

import scim
from helpers import fakes
from scim.cli import run


@pytest.fixture
def query(tmp_path):
    fakes.cells(30, seed=9).write_h5ad(tmp_path / "query.h5ad")
    return tmp_path / "query.h5ad"


def test_annotate_writes_cells(query, atlas_path, tmp_path, capsys):
    out = tmp_path / "out.h5ad"
    assert run(["annotate", str(query), "-o", str(out), "--atlas", str(atlas_path), "--max-distance", "2"]) == 0
    expected = fakes.cells(30, seed=9)
    scim.tl.embed(expected, atlas_path)
    scim.tl.annotate(expected, atlas_path, max_distance=2)
    assert anndata.read_h5ad(out).obs["scim_label"].tolist() == expected.obs["scim_label"].tolist()
    printed = capsys.readouterr().out
    assert "mean confidence" in printed
    assert f"wrote {out}" in printed


def test_annotate_with_a_tissue_and_cells_that_the_atlas_lacks(query, atlas_path, tmp_path, capfd):
    out = tmp_path / "out.h5ad"
    arguments = ["annotate", str(query), "-o", str(out), "--atlas", str(atlas_path), "--no-expression"]
    assert run([*arguments, "--tissue", "blood", "--tissue", "lung", "--where", "label == 'T cell'"]) == 0
    params = anndata.read_h5ad(out).uns["scim_label"]["params"]
    assert (params["tissue"], bool(params["expression"])) == ("blood, lung", False)
    printed = capfd.readouterr()
    assert "mean novelty" in printed.out
    assert printed.err.count("of the cells are unlike every reference cell") == 1
    assert run([*arguments, "--tissue", "liver", "--overwrite"]) == 1
    assert "--tissue liver are no tissues of the atlas" in capfd.readouterr().err


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_annotate_writes_tables(query, atlas_path, tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    assert run(["annotate", str(query), "-o", str(out), "--atlas", str(atlas_path)]) == 0
    read = {"csv": pd.read_csv, "tsv": lambda path: pd.read_csv(path, sep="\t"), "parquet": pd.read_parquet}[suffix]
    table = read(out)
    assert table["cell"].tolist() == fakes.cells(30, seed=9).obs_names.tolist()
    assert {"scim_label", "scim_label_id", "scim_label_confidence", "scim_label_novelty"} <= set(table)


def test_search_writes_hits(query, atlas_path, tmp_path, capsys):
    out = tmp_path / "hits.csv"
    arguments = ["--groupby", "cell_type", "--k", "4", "--where", "study == 'two'", "--columns", "study"]
    assert run(["search", str(query), "-o", str(out), "--atlas", str(atlas_path), *arguments]) == 0
    hits = pd.read_csv(out)
    assert hits.groupby("query").size().tolist() == [4, 4, 4]
    assert set(hits["study"]) == {"two"}
    assert "share" in capsys.readouterr().out


def test_search_leaves_out_far_cells(query, atlas_path, tmp_path):
    out = tmp_path / "hits.csv"
    arguments = ["--k", "150", "--max-distance", "0.1", "--duplicates", "keep"]
    assert run(["search", str(query), "-o", str(out), "--atlas", str(atlas_path), *arguments]) == 0
    cells = fakes.cells(30, seed=9)
    scim.tl.embed(cells, atlas_path)
    scim.tl.search(cells, atlas_path, k=150, max_distance=0.1, duplicates="keep")
    hits = pd.read_csv(out)
    assert hits["id"].tolist() == scim.get.hits(cells, only_similar=False)["id"].tolist()
    assert hits["distance"].max() <= 0.1 + 1e-6


def test_an_atlas_from_the_shell(tmp_path, atlas_path, query, capsys):
    new = str(tmp_path / "new.scim")
    other = tmp_path / "other.h5ad"
    fakes.cells(12, seed=3).write_h5ad(other)
    assert run(["atlas", "create", new, "--model", str(atlas_path / "model")]) == 0
    assert run(["atlas", "append", new, str(query), str(other), "--label-key", "cell_type", "--columns", "tissue"]) == 0
    assert run(["atlas", "index", new, "--kind", "ivf", "--recall", "0.9"]) == 0
    with scim.atlas.open(new) as atlas:
        assert (atlas.index.kind, atlas.index.params["recall"]) == ("ivf", 0.9)
    assert run(["atlas", "index", new, "--kind", "exact"]) == 0
    assert run(["atlas", "info", new]) == 0
    printed = capsys.readouterr().out
    assert "42 cells" in printed
    assert "classical monocyte       14" in printed
    with scim.atlas.open(new) as atlas:
        assert atlas.obs()["study"].value_counts().to_dict() == {"query": 30, "other": 12}
        assert "tissue" in atlas.columns


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["annotate", "nothere.h5ad", "-o", "out.h5ad"], 1, "nothere.h5ad': no such file"),
        (["annotate", "QUERY", "-o", "out.txt"], 1, "expected an output ending in .h5ad, .zarr, .csv"),
        (["annotate", "QUERY", "-o", "QUERY"], 1, "exists already; pass --overwrite"),
        (["annotate", "QUERY", "-o", "no/such/folder/out.h5ad"], 1, "its folder does not exist"),
        (["annotate", "QUERY", "-o", "out.h5ad", "--atlas", "nowhere"], 1, "nowhere': there is no such folder"),
        (["annotate", "QUERY", "-o", "out.h5ad", "--atlas", "ATLAS", "--layer", "x"], 1, "--layer x not found"),
        (["search", "QUERY", "-o", "out.csv", "--atlas", "ATLAS", "--where", "a == 1"], 1, "no column 'a'"),
        (["search", "QUERY", "-o", "out.csv", "--atlas", "ATLAS", "--groupby", "a"], 1, "obs['a'] not found"),
        (["annotate", "TEXT", "-o", "out.h5ad"], 1, "expected an .h5ad, .zarr or 10x .h5 file"),
        (["annotate", "BROKEN", "-o", "out.h5ad"], 1, "cannot be read as .h5ad"),
        (["atlas", "create", "ATLAS", "--model", "MODEL"], 1, "exists already; pass --overwrite to replace it"),
        (["atlas", "append", "ATLAS"], 1, "one or more .h5ad or .zarr files"),
        (["atlas", "index", "ATLAS", "--recall", "0"], 1, "recall must be above 0"),
        (["search", "QUERY", "-o", "out.csv", "--atlas", "ATLAS", "--max-distance", "9"], 1, "between 0 and 2"),
        (["search", "QUERY", "-o", "out.csv", "--duplicates", "drop"], 2, 'Invalid value "drop" for --duplicates'),
        (["annotate"], 2, "requires an argument"),
        (["annotate", "QUERY", "-o", "out.h5ad", "--k", "many"], 2, "--k: expected a whole number, got 'many'"),
        (["annotate", "QUERY", "-o", "out.h5ad", "--k", "2.5"], 2, "--k: expected a whole number, got '2.5'"),
        (["annotate", "QUERY", "-o", "out.h5ad", "--level", "²"], 1, "²"),
        (["fly\x1b[31m"], 2, r'Unknown command "fly\x1b[31m"'),
        (["atlas", "info", "s3://me:PW@bucket/a"], 1, "'s3://***@bucket/a' has credentials"),
        (["atlas", "info", "ATLAS", "--at", "²"], 1, "is not a time"),
        (["atlas", "info", "ATLAS", "--at", "9" * 5000], 1, "is not a time"),
    ],
)
def test_errors_are_one_line_and_have_exit_codes(
    query, atlas_path, tmp_path, monkeypatch, capfd, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("not cells")
    (tmp_path / "broken.h5ad").write_bytes(b"not hdf5")
    places = {"QUERY": str(query), "ATLAS": str(atlas_path), "MODEL": str(atlas_path / "model")}
    places |= {"TEXT": "text.txt", "BROKEN": "broken.h5ad"}
    assert run([places.get(a, a) for a in arguments]) == code
    printed = capfd.readouterr().err
    last = printed.strip().splitlines()[-1]
    assert last.startswith("scim: error: ")
    assert message in last
    assert printed.count("scim: error: ") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.h5ad", "query.h5ad", "text.txt"]


@pytest.mark.parametrize("command", ["annotate", "search"])
def test_a_missing_column_raises_before_the_embedding(query, atlas_path, tmp_path, monkeypatch, command):
    embedded = []
    monkeypatch.setattr(scim.tl, "embed", lambda *_, **__: embedded.append(True))
    arguments = [command, str(query), "-o", str(tmp_path / "out.h5ad"), "--atlas", str(atlas_path), "--groupby", "a"]
    assert run(arguments) == 1
    assert embedded == []


def test_help_has_examples(capfd):
    for arguments in (["--help"], ["annotate", "--help"], ["search", "--help"], ["atlas", "append", "--help"]):
        assert run(arguments) == 0
    printed = capfd.readouterr().out
    assert "scim demo" in printed
    assert "Example: scim annotate query.h5ad -o labelled.h5ad" in printed
    assert "--max-error" in printed


def test_help_loads_no_heavy_package():
    heavy = {"torch", "anndata", "tiledbsoma", "numba", "matplotlib"}
    code = f"import sys; from scim.cli import run; run(['--help']); assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_as_a_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "scim", "annotate", "x.h5ad", "-o", "y.h5ad"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("scim: error: ")
    assert done.stderr.endswith("x.h5ad': no such file; expected an h5ad file or a zarr folder.\n")


@pytest.mark.filterwarnings("always::scim._core.errors.ScimWarning")
def test_a_warning_is_one_line_and_printed_once(query, atlas_path, tmp_path, capfd):
    adata = anndata.read_h5ad(query)
    adata.X = adata.X.log1p()
    adata.write_h5ad(tmp_path / "logged.h5ad")
    arguments = ["search", str(tmp_path / "logged.h5ad"), "-o", str(tmp_path / "hits.csv"), "--groupby", "sample"]
    assert run([*arguments, "--atlas", str(atlas_path)]) == 0
    printed = capfd.readouterr().err
    assert printed.count("scim: warning: No counts found; X looks log-normalised") == 1


@pytest.mark.filterwarnings("always::scim._core.errors.ScimWarning")
def test_the_demo_runs(tmp_path, capsys):
    assert run(["demo", "--output", str(tmp_path / "demo")]) == 0
    assert sorted(p.name for p in (tmp_path / "demo").iterdir()) == [
        "composition.png",
        "labels.png",
        "pbmc68k_annotated.h5ad",
    ]
    printed = capsys.readouterr().out
    shares = {part: re.search(rf" {part} +(\d+)% +(\d+)% +(\d+)% ", printed).groups() for part in ("all", "tissue")}
    agree, broader, unknown = map(int, shares["all"])
    assert agree >= 70
    assert (
        agree + broader >= 85
    )  # 303 of the model's genes: many monocytes and dendritic cells are told from others only
    assert unknown <= 5
    assert int(shares["tissue"][2]) >= 95  # without the blood cells of any tissue
