from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import scim
from helpers import fakes

mpl.use("agg")


@pytest.fixture
def explained():
    adata = fakes.cells(45, seed=9)
    scim.tl.explain(adata, model=fakes.tiny_model(), groupby="cell_type", n_pairs=8, n_steps=5)
    return adata


def test_bars_are_means_and_lines_intervals(explained):
    figure = scim.pl.attribution(explained, top=7)
    expected = scim.get.attribution(explained, top=7)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["B cell", "T cell", "classical monocyte"]
    for ax, (_, rows) in zip(figure.axes, expected.groupby("group", sort=False), strict=True):
        np.testing.assert_allclose([bar.get_width() for bar in ax.patches], rows["mean"], rtol=1e-6)
        assert [label.get_text() for label in ax.get_yticklabels()] == rows["gene"].tolist()
        (lines,) = ax.collections
        ends = np.array([segment[:, 0] for segment in lines.get_segments()])
        np.testing.assert_allclose(ends, rows[["low", "high"]], rtol=1e-6)
        assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first gene is at the top


def test_groups_and_their_colours(explained):
    explained.uns["cell_type_colors"] = ["#010203", "#aabbcc", "#ff0000"]
    figure = scim.pl.attribution(explained, ["classical monocyte", "B cell"], top=3)
    colors = [mpl.colors.to_hex(ax.patches[0].get_facecolor()) for ax in figure.axes]
    assert colors == ["#ff0000", "#010203"]
    del explained.obs["cell_type"]
    assert len(scim.pl.attribution(explained).axes) == 3


def test_many_groups_are_drawn_in_rows(explained):
    adata = explained
    adata.obs["group"] = [f"cluster {i % 5}" for i in range(45)]
    scim.tl.explain(adata, model=fakes.tiny_model(), groupby="group", n_pairs=2, n_steps=2)
    figure = scim.pl.attribution(adata, top=2)
    rows = [ax.get_subplotspec().rowspan.start for ax in figure.axes]
    assert rows == [0, 0, 0, 1, 1]
    assert [bool(ax.get_xlabel()) for ax in figure.axes] == [False, False, True, True, True]


def test_axes_that_are_given_are_drawn_on(explained):
    figure, axes = plt.subplots(1, 2)
    before = dict(mpl.rcParams)
    assert scim.pl.attribution(explained, ["T cell", "B cell"], ax=axes) is None
    assert all(ax.patches for ax in axes)
    assert dict(mpl.rcParams) == before
    plt.close(figure)
    scim.pl.attribution(explained)
    assert plt.get_fignums() == []
