"""Pictures of annotated cells: the drawn values are those of the frames."""

from __future__ import annotations

import anndata
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import scim
from helpers.annotated import annotated, with_groups

mpl.use("agg")

CD4 = "CD4-positive, alpha-beta T cell"


@pytest.fixture
def adata():
    return with_groups()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_reliability_draws_bins_and_their_intervals(adata):
    figure = scim.pl.reliability(adata, "truth", n_bins=4)
    frame = scim.get.reliability(adata, "truth", n_bins=4)
    diagram, histogram, _ = figure.axes
    some = frame[frame["n"] > 0]
    lines, points = diagram.collections
    np.testing.assert_allclose(points.get_offsets(), some[["confidence", "right"]])
    ends = np.array([segment[:, 1] for segment in lines.get_segments()])
    np.testing.assert_allclose(ends, some[["right_low", "right_high"]])
    assert [bar.get_height() for bar in histogram.patches] == frame["n"].tolist()
    assert [bar.get_x() for bar in histogram.patches] == frame["low"].tolist()
    error = frame.attrs["calibration_error"]
    assert texts(diagram) == [f"calibration error {error:.3f}\nmean confidence 80.5%\nright 75.0% (with 12.5% broader)"]


@pytest.mark.parametrize(("ancestors", "other"), [("right", "wrong"), ("wrong", "right")])
def test_the_error_is_drawn_in_both_readings(adata, ancestors, other):
    risk = scim.pl.reliability(adata, "truth", ancestors=ancestors).axes[2]
    assert len(risk.lines) == 2
    for line, rule in zip(risk.lines, (ancestors, other), strict=True):
        frame = scim.get.selective_risk(adata, "truth", ancestors=rule)
        np.testing.assert_allclose(line.get_xydata(), frame[["coverage", "error"]])
        assert line.get_label() == {"right": "wrong", "wrong": "wrong or broader"}[rule]
    (grey,) = risk.patches
    assert grey.get_x() == pytest.approx(8 / 9)  # from here on the cells are unknown


def test_the_error_of_a_few_cells_does_not_set_the_axis():
    obs = pd.DataFrame({"truth": "B cell", "scim_label": "B cell"}, index=[f"cell {i}" for i in range(100)])
    obs["scim_label_confidence"] = np.linspace(1, 0.5, 100, dtype=np.float32)
    obs.iloc[0, 1] = "monocyte"
    adata = anndata.AnnData(obs=obs)
    risk = scim.pl.reliability(adata, "truth").axes[2]
    assert risk.lines[0].get_ydata()[0] == 1  # the most confident cell is wrong
    assert risk.get_ylim() == (0, pytest.approx(1.1 / 5))  # one of the five most confident


@pytest.mark.parametrize(("confidence", "corner"), [(0.3, "right"), (1.0, "left")])
def test_text_does_not_cover_points(adata, confidence, corner):
    adata.obs["scim_label_confidence"] = np.full(10, confidence, np.float32)
    diagram = scim.pl.reliability(adata, "truth").axes[0]
    assert diagram.texts[0].get_ha() == corner


def test_reliability_of_exact_labels_has_one_line(adata):
    exact = adata[adata.obs["truth"].astype(object) == adata.obs["scim_label"].astype(object)].copy()
    _, _, risk = scim.pl.reliability(exact, "truth").axes
    assert [line.get_label() for line in risk.lines] == ["wrong"]
    assert not risk.patches


def test_reliability_without_a_label(adata):
    adata.obs["scim_label"] = pd.Categorical([None] * 10)
    figure = scim.pl.reliability(adata, "truth")
    assert texts(figure.axes[0]) == ["no cell is labelled"]
    figure.canvas.draw()


def test_confusion_has_an_image_for_each_kind_of_prediction(adata):
    (ax,) = scim.pl.confusion(adata, "truth").axes
    images = {image.get_label(): image.get_array() for image in ax.images}
    assert {kind: image.shape for kind, image in images.items()} == {
        "right": (5, 5),
        "broader": (5, 5),
        "wrong": (5, 5),
        "unknown": (5, 1),
    }
    order = ["T cell", CD4, "B cell", "monocyte", "my cells", "unknown"]
    counted = scim.get.confusion(adata, "truth")
    whole = np.zeros((5, 6))
    for kind, image in images.items():
        whole[:, 5:] += image.filled(0) if kind == "unknown" else 0
        whole[:, :5] += image.filled(0) if kind != "unknown" else 0
    expected = counted.pivot_table(index="given", columns="annotated", values="share", observed=False, fill_value=0)
    np.testing.assert_allclose(whole, expected[order].loc[order[:5]])
    assert {kind: int((~image.mask).sum()) for kind, image in images.items()} == {
        "right": 5,
        "broader": 1,
        "wrong": 2,
        "unknown": 1,
    }
    assert images["right"][0, 1] == 1.0  # more specific than the given label
    assert images["broader"][1, 0] == 0.5


def test_confusion_has_names_counts_and_percentages(adata):
    (ax,) = scim.pl.confusion(adata, "truth").axes
    names = [label.get_text().replace("\n", " ") for label in ax.get_yticklabels()]
    assert names == ["T cell (1)", f"{CD4} (2)", "B cell (2)", "monocyte (3)", "my cells (1)"]
    assert ax.get_xticklabels()[-1].get_text() == "unknown"
    assert sorted(texts(ax)) == sorted(["100", "50", "50", "50", "50", "33", "33", "33", "100"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["right", "broader", "wrong", "unknown"]


def test_confusion_of_unknown_cells_alone(adata):
    adata.obs["scim_label"] = pd.Categorical([None] * 10)
    figure = scim.pl.confusion(adata, "truth")
    (image,) = figure.axes[0].images
    assert image.get_array().tolist() == [[1.0]] * 5
    figure.canvas.draw()


def test_confusion_leaves_out_numbers_without_room(adata):
    figure, ax = plt.subplots(figsize=(1.5, 1.5))
    assert scim.pl.confusion(adata, "truth", ax=ax) is None
    assert texts(ax) == []
    assert len(ax.images) == 4
    plt.close(figure)


def test_a_long_name_is_cut_after_two_lines(adata):
    long = "a kind of cell with a very long name that goes on for more than two lines and is cut at the end of them"
    adata.obs["truth"] = adata.obs["truth"].cat.rename_categories({"my cells": long})
    with pytest.warns(UserWarning, match="These values of obs\\['truth'\\] are no terms"):
        (ax,) = scim.pl.confusion(adata, "truth").axes
    name = ax.get_yticklabels()[4].get_text()
    assert len(name.split("\n")) == 2
    assert name.endswith("… (1)")


def test_votes_are_bars_of_their_shares(adata):
    (ax,) = scim.pl.votes(adata, "group").axes
    frame = scim.get.vote_shares(adata, "group")
    widths = {
        (bar.get_y() + bar.get_height() / 2, bars.get_label()): (bar.get_x(), bar.get_width())
        for bars in ax.containers
        for bar in bars
    }
    for row in frame.itertuples():
        place = ["b", "a", "c"].index(row.group)
        assert widths[place, row.label][1] == pytest.approx(row.share)
    assert widths[1, CD4][0] == 0  # the best is first
    assert widths[1, "T cell"][0] == pytest.approx(widths[1, CD4][1])
    for place, rest in enumerate([0.1 / 3, 0.1 / 3, 0.6 / 3]):
        assert widths[place, "other"][1] == pytest.approx(rest, abs=1e-6)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b (3)", "a (3)", "c (3)"]


def test_votes_for_few_labels_are_other(adata):
    (ax,) = scim.pl.votes(adata, "group", top=1).axes
    assert [bars.get_label() for bars in ax.containers] == ["B cell", "other"]
    assert [bar.get_width() for bar in ax.containers[1]] == pytest.approx([1 - 1.4 / 3, 1, 1 - 0.9 / 3], abs=1e-6)


def test_votes_of_labels_have_the_colours_of_the_labels(adata):
    names = adata.obs["scim_label"].cat.categories
    adata.uns["scim_label_colors"] = [f"#0000{i}{i}" for i in range(1, len(names) + 1)]
    (ax,) = scim.pl.votes(adata).axes
    colors = {bars.get_label(): mpl.colors.to_hex(bars[0].get_facecolor()) for bars in ax.containers}
    colors.pop("other")
    assert colors == dict(zip(names, adata.uns["scim_label_colors"], strict=True))
    assert [label.get_text().split(" (")[0] for label in ax.get_yticklabels()][-1] == "unknown"


def test_consensus_has_bars_dots_and_words(adata):
    (ax,) = scim.pl.consensus(adata).axes
    _, own, second, unknown = ax.containers
    assert [bar.get_width() for bar in own] == pytest.approx([0.5, 1.0, 0.5])
    assert [bar.get_width() for bar in second] == pytest.approx([1 / 3, 0.0, 0.25])
    assert [bar.get_x() for bar in second] == pytest.approx([0.5, 1.0, 0.5])
    assert [bar.get_width() for bar in unknown] == pytest.approx([0, 0, 0.4])
    (dots,) = ax.collections
    np.testing.assert_allclose(dots.get_offsets(), [[0.6, 0], [0.9, 1], [0.3, 2]], rtol=1e-6)
    hollow = [mpl.colors.to_hex(color) == "#ffffff" for color in dots.get_facecolor()]
    assert hollow == [True, False, False]
    assert texts(ax) == ["B cell", "mixed with monocyte 33%", "T cell", "unknown", "then B cell 25%"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b (3)", "a (3)", "c (3)"]
    assert mpl.colors.to_hex(own[2].get_facecolor()) == "#d9d9d9"


def test_consensus_reads_what_a_file_gives_back(adata, tmp_path):
    del adata.obs["scim_label"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    (ax,) = scim.pl.consensus(back).axes
    assert texts(ax)[:2] == ["B cell", "mixed with monocyte 33%"]


def test_consensus_without_groups():
    with pytest.raises(
        KeyError, match=r"uns\['scim_label'\] was made without groups; run scim.tl.annotate\(adata, groupby"
    ):
        scim.pl.consensus(annotated())
    with pytest.raises(
        KeyError, match=r"uns\['other'\] holds no annotation; run scim.tl.annotate\(adata, groupby=...\)"
    ):
        scim.pl.consensus(annotated(), key="other")


def test_novelty_has_bars_dots_and_shares_of_groups_most_novel_first(adata):
    (ax,) = scim.pl.novelty(adata, "group").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b (3)", "c (3)", "a (3)"]  # equals as they were
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in ax.containers}
    third = pytest.approx(1 / 3)
    assert widths["novel"] == [third, third, 0]
    assert widths["unknown"] == [0, 0, 0]  # the unknown cell of c is novel
    assert widths["labelled"] == pytest.approx([2 / 3, 2 / 3, 1])
    assert [bar.get_x() for bar in ax.containers[2]] == pytest.approx([1 / 3, 1 / 3, 0])
    (dots,) = ax.collections
    confidence = [(1.0 + 0.93 + 0.25) / 3, (0.7 + 0.75 + 0.4) / 3, (0.95 + 0.95 + 0.91) / 3]
    np.testing.assert_allclose(dots.get_offsets(), np.stack([confidence, [0, 1, 2]], axis=1), rtol=1e-6)
    assert texts(ax) == ["33%", "33%", "0%"]
    adata.obs["scim_label_novelty"] = np.float32(0.2)
    (ax,) = scim.pl.novelty(adata, "group").axes
    assert [bar.get_width() for bar in ax.containers[1]] == [0, 0, third]


def test_novelty_of_all_cells_is_a_histogram(adata):
    (ax,) = scim.pl.novelty(adata).axes
    counts = np.histogram(adata.obs["scim_label_novelty"], bins=20, range=(0, 1))[0]
    assert [bar.get_height() for bar in ax.patches] == pytest.approx(counts / 10)
    assert ax.get_title(loc="left") == "30% of 10 cells are novel"
    first, last = ax.patches[9].get_facecolor(), ax.patches[10].get_facecolor()
    assert first == ax.patches[0].get_facecolor() != last == ax.patches[19].get_facecolor()
    assert ax.patches[10].get_x() == pytest.approx(0.5)


def test_novelty_of_an_annotation_without_it(adata):
    del adata.obs["scim_label_novelty"]
    with pytest.raises(KeyError, match=r"obs\['scim_label_novelty'\] not found"):
        scim.pl.novelty(adata)


PICTURES = {
    "novelty": (lambda adata, ax: scim.pl.novelty(adata, ax=ax), 1),
    "novelty of groups": (lambda adata, ax: scim.pl.novelty(adata, "group", ax=ax), 1),
    "reliability": (lambda adata, ax: scim.pl.reliability(adata, "truth", ax=ax), 3),
    "confusion": (lambda adata, ax: scim.pl.confusion(adata, "truth", ax=ax), 1),
    "votes": (lambda adata, ax: scim.pl.votes(adata, "group", ax=ax), 1),
    "consensus": (lambda adata, ax: scim.pl.consensus(adata, ax=ax), 1),
}


@pytest.mark.parametrize("name", PICTURES)
def test_axes_that_are_given_are_drawn_on(adata, name):
    draw, n = PICTURES[name]
    before = dict(mpl.rcParams)
    assert isinstance(draw(adata, None), Figure)
    assert plt.get_fignums() == []
    figure, axes = plt.subplots(1, n)
    assert draw(adata, axes) is None
    assert all(ax.has_data() for ax in np.ravel(axes))
    with pytest.raises(ValueError, match=f"has {n} panels: expected ax with {n} axes, got {n + 1}"):
        draw(adata, [*np.ravel(axes), None])
    assert dict(mpl.rcParams) == before
    plt.close(figure)


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_not_annotated_is_refused(name):
    bare = annotated()[:, :0].copy()
    del bare.uns["scim_label"], bare.obs["scim_label"]
    with pytest.raises(KeyError, match="run scim.tl.annotate"):
        PICTURES[name][0](bare, None)


def test_votes_by_a_number_of_labels_below_one(adata):
    with pytest.raises(ValueError, match="top must be at least 1, got 0"):
        scim.pl.votes(adata, top=0)
