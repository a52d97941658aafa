"""The model card for readers has the figures of the card in the packaged model, and both those of the script."""

from __future__ import annotations

import ast
import re
import statistics
from pathlib import Path

import scim

ROOT = Path(__file__).parents[1]
CARD = (ROOT / "docs" / "model_card.md").read_text()
METADATA = scim.model.load(scim.atlas.PACKAGED / "model").metadata


def constant(name):
    """A constant of the script that makes the packaged atlas."""
    tree = ast.parse((ROOT / "scripts" / "make_packaged_atlas.py").read_text())
    values = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == name]
    return ast.literal_eval(values[0])


def first_column():
    """Macro-F1 of scim in the table of studies left out, and the mean in its last row."""
    table = CARD.partition("| macro-F1 | scim, fixed |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in table.splitlines()[2:]]
    values = [float(value) for _, cell in rows[:-1] for value in cell.split(", ")]
    return values, float(rows[-1][1])


def test_macro_f1_is_that_of_the_config():
    values, mean = first_column()
    assert METADATA["card"]["macro_f1_of_studies_left_out"] == constant("MACRO_F1")
    assert values == [*constant("MACRO_F1").values()]
    assert mean == round(statistics.mean(values), 3)


def test_the_cost_of_small_panels_is_that_of_the_config():
    curve = METADATA["panel_curve"]
    assert curve == constant("PANEL_CURVE")
    numbers, shares = re.search(
        r"With ([\d /]+) random genes of those that the model reads, ([\d./ ]+) of", CARD
    ).groups()
    assert [int(n) for n in numbers.split(" / ")] == curve["n_genes"][-2::-1]
    assert [float(share) for share in shares.split(" / ")] == curve["macro_f1_share"][-2::-1]


def test_the_confidence_is_called_a_probability():
    assert "not a probability" not in str(METADATA)
    assert "share of votes" not in str(METADATA)
