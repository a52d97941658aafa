"""The heat map of hits: its numbers, their order, and marks of what is significant."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import scim
from scim.pl._drawing import drawn
from scim.pl._hits_heatmap import _clustered, draw_heatmap

mpl.use("agg")


@pytest.fixture
def searched(adata, atlas_path):
    scim.tl.search(adata, atlas_path, groupby="cell_type", k=20)
    return adata


def drawn_table(ax):
    """The numbers of the picture by the names on its axes."""
    columns, rows = ([text.get_text() for text in axis.get_ticklabels()] for axis in (ax.xaxis, ax.yaxis))
    numbers = np.ma.getdata(ax.collections[0].get_array()).reshape(len(rows), len(columns))
    return pd.DataFrame(numbers, rows, columns)


@pytest.mark.parametrize("values", ["share", "n_hits"])
@pytest.mark.parametrize("cluster", [True, False])
def test_numbers_are_the_counted_hits(searched, values, cluster):
    figure = scim.pl.hits_heatmap(searched, "label", values=values, cluster=cluster, only_similar=False)
    counted = scim.get.composition(searched, ["query", "label"], only_similar=False)
    expected = counted.pivot_table(index="query", columns="label", values=values, fill_value=0)
    found = drawn_table(figure.axes[0])
    np.testing.assert_allclose(found.loc[expected.index, expected.columns], expected)
    if not cluster:
        assert list(found.index) == list(searched.uns["scim_search"]["groups"])
        totals = counted.groupby("label")["n_hits"].sum()[found.columns]
        assert totals.is_monotonic_decreasing


def test_two_columns_are_grouped(searched):
    figure = scim.pl.hits_heatmap(searched, ["study", "label"], values="n_hits", only_similar=False)
    ax = figure.axes[0]
    counted = scim.get.composition(searched, ["study", "label"], only_similar=False)
    found = drawn_table(ax)
    assert found.shape[1] == len(counted)
    assert found.to_numpy().sum() == counted["n_hits"].sum()
    groups = [text.get_text() for text in ax.texts if text.get_fontweight() == "bold"]
    assert groups == list(counted.groupby("study")["n_hits"].sum().sort_values(ascending=False).index)
    lines = [line.get_xdata()[0] for line in ax.lines]
    assert lines == list(np.cumsum([counted["study"].eq(name).sum() for name in groups])[:-1])


def test_significant_values_have_a_star_and_fractions_are_those_of_the_samples(searched):
    query = searched.uns["scim_search"]["groups"][0]
    value = (
        scim.get.composition(searched, ["query", "label"], only_similar=False).query("query == @query")["label"].iloc[0]
    )
    table = pd.DataFrame({"query": [query], "value": [value], "q": [0.01], "fraction": [0.25]})
    searched.uns["scim_enrichment"] = {"table": table, "params": {"by": "label", "key": "scim_search"}}
    figure = scim.pl.hits_heatmap(searched, "label", values="fraction", only_similar=False)
    found = drawn_table(figure.axes[0])
    assert found.loc[query, value] == 0.25
    assert [text.get_text() for text in figure.axes[0].texts] == ["25*"]
    assert figure.axes[-1].get_ylabel().endswith("(* significant)")
    unmarked = scim.pl.hits_heatmap(searched, "label", max_q=0.001, only_similar=False)
    assert not any("*" in text.get_text() for text in unmarked.axes[0].texts)


def test_a_search_for_cells_is_one_row_and_rare_values_are_joined(searched, atlas_path):
    scim.tl.search(searched, atlas_path, k=10)
    found = drawn_table(scim.pl.hits_heatmap(searched, "label", top=1, only_similar=False).axes[0])
    assert list(found.index) == ["all cells"]
    assert "other" in found.columns
    assert found.to_numpy().sum() == pytest.approx(1)


def test_without_hits_rows_are_empty(searched, atlas_path):
    scim.tl.search(searched, atlas_path, groupby="cell_type", k=10, max_distance=0.0)
    figure = scim.pl.hits_heatmap(searched, "label")
    assert [text.get_text() for text in figure.axes[0].texts] == ["no hits"]


def test_similar_rows_are_neighbours():
    rows = np.array([[0.0, 9], [9, 0], [0, 8], [8, 0]])
    order = _clustered(rows)
    assert abs(order.index(0) - order.index(2)) == 1
    assert abs(order.index(1) - order.index(3)) == 1
    assert drawn("x" * 50, 36) == "x" * 35 + "…"
    table = pd.DataFrame([[0.001, 0.2]], ["q"], pd.Index([("a",), ("b",)], tupleize_cols=False))
    ax = mpl.figure.Figure().subplots()
    draw_heatmap(ax, table, "share", None)
    assert [text.get_text() for text in ax.texts] == ["<1", "20"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a: scim.pl.hits_heatmap(a, ["a", "b", "c"]), ValueError, "one column of the atlas or two"),
        (lambda a: scim.pl.hits_heatmap(a, "label", values="mean"), ValueError, "values must be one of"),
        (
            lambda a: scim.pl.hits_heatmap(a, "label", values="fraction"),
            ValueError,
            r"run scim.tl.enrichment\(adata, 'label'",
        ),
        (lambda a: scim.pl.hits_heatmap(a, ["query", "label"]), ValueError, "queries are drawn anyway"),
        (lambda a: scim.pl.hits_heatmap(a, "label", "Z"), KeyError, r"has no query \['Z'\]"),
        (lambda a: scim.pl.hits_heatmap(a, "organ"), KeyError, "organ"),
        (lambda a: scim.pl.hits_heatmap(a, "label", key="mine"), KeyError, "run scim.tl.search"),
        (lambda a: scim.pl.hits_heatmap(a.X, "label"), TypeError, "Expected an AnnData"),
    ],
)
def test_errors(searched, call, error, message):
    with pytest.raises(error, match=message):
        call(searched)
