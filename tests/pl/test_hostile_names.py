"""Names that matplotlib takes for formulas, leaves out of legends or cannot lay out are drawn as text, in every picture."""

from __future__ import annotations

import matplotlib as mpl
import pytest
from matplotlib.text import Text

import scim
from helpers import fakes
from scim.pl._drawing import drawn, wrapped

mpl.use("agg")

NAMES = {"T cell": r"$\frac{$", "B cell": "_" + "x" * 5000, "classical monocyte": "a$b\n\x1b[31m\u202e$"}
SHOWN = [r"$\frac{$", " _xxx", r"a$b \x1b[31m\u202e$"]


def cells(n, seed):
    made = fakes.cells(n, seed=seed)
    made.obs["cell_type"] = made.obs["cell_type"].astype(str).replace(NAMES).astype("category")
    made.obs["tissue"] = made.obs["cell_type"]
    made.obs["a$b$_c"] = made.obs["cell_type"]
    return made


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Cells whose groups, labels and hits have hostile names, and their atlas."""
    path = tmp_path_factory.mktemp("hostile") / "a.scim"
    with scim.atlas.create(path, model=fakes.tiny_model()) as atlas:
        for seed, study in enumerate(("$one$", "_two")):
            atlas.append(cells(60, seed), study=study, label_key="cell_type", obs_columns=["tissue"])
        atlas.build_index()
    adata = cells(45, 9)
    scim.tl.embed(adata, path)
    scim.tl.annotate(adata, path, groupby="a$b$_c", max_error=1)
    scim.tl.search(adata, path, groupby="a$b$_c", k=9)
    scim.tl.enrichment(adata, "tissue", sample_key="study", atlas=path)
    return adata, path


PICTURES = {
    "labels": lambda adata, atlas: scim.pl.labels(adata, basis="X_scim"),
    "votes": lambda adata, atlas: scim.pl.votes(adata, "a$b$_c"),
    "consensus": lambda adata, atlas: scim.pl.consensus(adata),
    "novelty": lambda adata, atlas: scim.pl.novelty(adata, "a$b$_c"),
    "confusion": lambda adata, atlas: scim.pl.confusion(adata, "a$b$_c"),
    "hits": lambda adata, atlas: scim.pl.hits(adata, by="label", value=NAMES["T cell"], basis="X_scim", atlas=atlas),
    "composition": lambda adata, atlas: scim.pl.composition(adata, ["query", "label"], atlas=atlas),
    "hits_circles": lambda adata, atlas: scim.pl.hits_circles(adata, ["study", "label"], atlas=atlas),
    "hits_heatmap": lambda adata, atlas: scim.pl.hits_heatmap(adata, ["study", "label"], atlas=atlas),
    "enrichment": lambda adata, atlas: scim.pl.enrichment(adata),
}


@pytest.mark.parametrize("name", PICTURES)
def test_names_are_drawn_as_text(name, searched):
    figure = PICTURES[name](*searched)
    figure.set_dpi(40)
    figure.canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert any("frac" in text.get_text() for text in texts)
    for text in texts:
        assert len(text.get_text()) < 1000
        assert text.get_text().replace("\n", "").isprintable()
        shown, is_formula = text._preprocess_math(text.get_text())
        assert not is_formula, shown


@pytest.mark.parametrize(("name", "shown"), list(zip(NAMES.values(), SHOWN, strict=True)))
def test_what_is_drawn(name, shown):
    for text in (drawn(name), wrapped(name, 40)):
        plain, is_formula = Text(text=text)._preprocess_math(text)
        assert plain.startswith(shown)
        assert not is_formula
    assert len(drawn(name)) <= 63
    assert drawn("x" * 61) == "x" * 59 + "…"
    assert drawn("x" * 60) == "x" * 60
