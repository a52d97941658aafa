"""Values of any characters, as tables in files and on the terminal."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest

from helpers import fakes
from scim.cli import run
from scim.cli._tables import show, show_table, write_table

TEXTS = [
    "a\rb",
    "c\r\nd",
    "e\nf",
    'g"h',
    "i,j",
    "k\tl",
    "'m'",
    " n ",
    "o;p",
    "\x1b[31mq",
    "r\u202es\u2028t",
    "naïve 漢",
]
FORMULAS = ["=1+1", "+cmd", "-CD4", "@SUM(1)", "\tx", "\rx", "\nx", "＝1"]
NUMBERS = ["-1.5", "+3", "-2e-3", "-.5"]


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("texts", [TEXTS, FORMULAS, ["plain", "words"]], ids=["hostile", "formulas", "plain"])
def test_texts_are_read_back(tmp_path, ending, texts):
    path = tmp_path / f"out.{ending}"
    frame = pd.DataFrame({"a\rb": pd.Categorical(texts), "text": texts, "n": np.arange(len(texts)) - 1.5})
    write_table(frame, path)
    if ending == "parquet":
        found = pd.read_parquet(path)
    else:
        found = pd.read_csv(path, sep="\t" if ending == "tsv" else ",", keep_default_na=False)
        assert read_csv(path) == [[*frame], *([a, b, str(n)] for a, b, n in frame.itertuples(index=False))]
    assert found.astype({"a\rb": object}).equals(frame.astype({"a\rb": object}))


def test_a_plain_table_has_no_quotes(tmp_path):
    frame = pd.DataFrame({"cell": ["a", "b"], "label": ["T cell", None], "x": [0.5, np.nan], "ok": [True, False]})
    write_table(frame, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == b"cell,label,x,ok\na,T cell,0.5,True\nb,,,False\n"


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_formulas_are_escaped_for_spreadsheets(tmp_path, ending):
    texts = [*FORMULAS, *NUMBERS, "a;=1+1", "plain"]
    frame = pd.DataFrame({"=head": texts, "n": -1.5})
    path = tmp_path / f"out.{ending}"
    write_table(frame, path, spreadsheet=True)
    rows = read_csv(path)
    assert rows[0] == ["'=head", "n"]
    assert [row[0] for row in rows[1:]] == [*(f"'{text}" for text in FORMULAS), *NUMBERS, "a;=1+1", "plain"]
    assert {row[1] for row in rows[1:]} == {"-1.5"}
    assert '"a;=1+1"' in path.read_text(encoding="utf-8")  # not two cells where the semicolon separates them


@pytest.mark.parametrize(("ending", "bad"), [("csv", "a\0b"), ("tsv", "a\ud800"), ("parquet", "a\ud800")])
def test_characters_that_no_reader_gives_back(tmp_path, ending, bad):
    path = tmp_path / f"out.{ending}"
    with pytest.raises(ValueError, match="cannot hold the character"):
        write_table(pd.DataFrame({"label": [bad]}), path)
    with pytest.raises(ValueError, match="cannot hold the character"):
        write_table(pd.DataFrame({bad: [1]}), path)
    assert list(tmp_path.iterdir()) == []


def test_control_characters_do_not_reach_the_terminal(capsys):
    show("wrote \x1b[2J\u202e\nscim: all is well, http://me:PW@host")
    show_table(pd.DataFrame({"la\x1bbel": ["\x1b[31m\nx", "y" * 500], "n": [1.25, 2.0]}))
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == r"wrote \x1b[2J\u202e\nscim: all is well, http://***@host"
    assert not any(not character.isprintable() for character in printed.replace("\n", ""))
    assert len(printed.splitlines()) == 4
    assert max(map(len, printed.splitlines())) < 100
    assert "1.25" in printed


def test_labels_of_an_atlas_and_of_a_query(tmp_path, capfd):
    """Names of cells, groups, labels, studies and files that would forge lines, formulas or colours."""
    cells = fakes.cells(30, seed=1)
    hostile = {"T cell": "=T\r\ncell", "B cell": "\x1b[31mB"}
    cells.obs["cell_type"] = cells.obs["cell_type"].astype(str).replace(hostile).astype("category")
    cells.obs_names = [f"-{name}\r\u202e" for name in cells.obs_names]
    file, atlas, out = tmp_path / "a\nb\x1b.h5ad", str(tmp_path / "a.scim"), tmp_path / "out.csv"
    cells.write_h5ad(file)
    fakes.tiny_model().save(tmp_path / "model")
    assert run(["atlas", "create", atlas, "--model", str(tmp_path / "model")]) == 0
    assert run(["atlas", "append", atlas, str(file), "--label-key", "cell_type"]) == 0
    assert run(["atlas", "index", atlas]) == 0
    assert run(["atlas", "info", atlas]) == 0
    query = ["annotate", str(file), "-o", str(out), "--atlas", atlas, "--groupby", "cell_type", "--max-error", "1"]
    assert run(query) == 0
    assert pd.read_csv(out)["cell"].tolist() == cells.obs_names.tolist()
    assert run([*query, "--overwrite", "--spreadsheet"]) == 0
    assert pd.read_csv(out)["cell"].tolist() == [f"'{name}" for name in cells.obs_names]
    assert run([*query[:-4], "--overwrite", "--groupby", "no\x1b[31m\ncolumn"]) == 1
    printed = capfd.readouterr()
    text = (printed.out + printed.err).replace("\n", "")
    assert not any(not character.isprintable() for character in text)
    assert r"=T\r\ncell" in printed.out
