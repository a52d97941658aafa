from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import scim

mpl.use("agg")


@pytest.fixture
def drawn(adata, atlas_path):
    adata.obsm["X_umap"] = adata.obsm["X_scim"][:, :2].copy()
    scim.tl.annotate(adata, atlas_path, max_error=1)
    scim.tl.search(adata, atlas_path, k=6)
    return adata


def test_labels_colour_the_cells_and_leave_the_unknown_grey(drawn):
    drawn.obs["scim_label"] = drawn.obs["scim_label"].where(np.arange(45) % 9 != 0)
    figure = scim.pl.labels(drawn)
    (ax,) = figure.axes
    assert isinstance(figure, Figure)
    counts = {c.get_label(): len(c.get_offsets()) for c in ax.collections}
    assert counts["unknown (5)"] == 5
    for name, n in drawn.obs["scim_label"].value_counts().items():
        assert counts[f"{name} ({n})"] == n
    grey = next(c for c in ax.collections if c.get_label() == "unknown (5)")
    np.testing.assert_array_equal(grey.get_offsets(), drawn.obsm["X_umap"][::9])


def test_labels_use_existing_colours(drawn):
    names = drawn.obs["scim_label"].cat.categories
    drawn.uns["scim_label_colors"] = ["#010203", "#aabbcc", "#ff0000"][: len(names)]
    (ax,) = scim.pl.labels(drawn).axes
    colors = [mpl.colors.to_hex(c.get_facecolor()[0]) for c in ax.collections]
    assert colors == drawn.uns["scim_label_colors"]


def test_colours_stay_with_their_label_when_one_is_not_used(drawn):
    names = list(drawn.obs["scim_label"].cat.categories)
    drawn.uns["scim_label_colors"] = ["#010203", "#aabbcc", "#ff0000"]
    part = drawn.copy()
    part.obs["scim_label"] = part.obs["scim_label"].where(part.obs["scim_label"] != names[0])
    (ax,) = scim.pl.labels(part).axes
    colors = [mpl.colors.to_hex(c.get_facecolor()[0]) for c in ax.collections[1:]]  # the first are the unknown
    assert colors == ["#aabbcc", "#ff0000"]


@pytest.mark.parametrize("values", [[1.5, 2.5, np.nan], [True, False, True], ["2020-01-01", "2020-02-01", None]])
def test_hits_of_groups_of_any_type(drawn, atlas_path, values):
    drawn.obs["group"] = pd.to_datetime(values * 15) if isinstance(values[0], str) else values * 15
    scim.tl.search(drawn, atlas_path, groupby="group", k=5)
    grey, colored = scim.pl.hits(drawn, only_similar=False).axes[0].collections
    assert len(grey.get_offsets()) == pd.isna(drawn.obs["group"]).sum()
    assert len(colored.get_offsets()) == pd.notna(drawn.obs["group"]).sum()


def test_cells_of_one_name_are_refused(drawn):
    drawn.obs_names = ["same"] * 45
    with pytest.raises(ValueError, match="call adata.obs_names_make_unique"):
        scim.pl.hits(drawn)


def test_hits_show_distance_and_agreement(drawn):
    figure = scim.pl.hits(drawn, by="label", only_similar=False)
    distance, share = (ax.collections[-1].get_array() for ax in figure.axes[:2])
    np.testing.assert_allclose(distance, np.median(drawn.obsm["scim_search_distances"], axis=1), rtol=1e-6)
    hits = scim.get.hits(drawn, ["label"], only_similar=False).fillna("missing")
    expected = [rows["label"].value_counts().iloc[0] / 6 for _, rows in hits.groupby("query", sort=False)]
    np.testing.assert_allclose(share, expected)


def test_hits_of_one_value(drawn):
    figure = scim.pl.hits(drawn, by="study", value="two", only_similar=False)
    hits = scim.get.hits(drawn, ["study"], only_similar=False)
    expected = (hits["study"] == "two").groupby(hits["query"], sort=False).mean()
    np.testing.assert_allclose(figure.axes[1].collections[-1].get_array(), expected)


def test_hits_of_groups_colour_their_cells(drawn, atlas_path):
    drawn.obs["some"] = drawn.obs["cell_type"].where(drawn.obs["cell_type"] != "B cell")
    scim.tl.search(drawn, atlas_path, groupby="some", k=5)
    ax = scim.pl.hits(drawn, only_similar=False).axes[0]
    grey, colored = ax.collections
    assert len(grey.get_offsets()) == (drawn.obs["cell_type"] == "B cell").sum()
    medians = dict(
        zip(drawn.uns["scim_search"]["groups"], np.median(drawn.uns["scim_search"]["distances"], axis=1), strict=True)
    )
    expected = [medians[g] for g in drawn.obs["some"].dropna()]
    np.testing.assert_allclose(colored.get_array(), expected, rtol=1e-6)


def test_composition_draws_the_shares(drawn):
    (ax,) = scim.pl.composition(drawn, "tissue").axes
    widths = {label.get_text(): bar.get_width() for label, bar in zip(ax.get_yticklabels(), ax.patches, strict=True)}
    expected = scim.get.composition(drawn, "tissue").set_index("tissue")["share"].to_dict()
    assert widths == pytest.approx(expected)


def test_composition_by_two_columns_joins_the_rest(drawn):
    (ax,) = scim.pl.composition(drawn, ["label", "note"], top=2).axes
    assert ax.get_legend().get_title().get_text() == "note"
    assert [t.get_text() for t in ax.get_legend().get_texts()][-1] == "other"
    assert sum(bar.get_width() for bar in ax.patches) == pytest.approx(1)


def test_composition_keeps_every_group_in_its_order(drawn, atlas_path):
    drawn.obs["cluster"] = pd.Categorical([str(i % 14) for i in range(45)], categories=[str(i) for i in range(14)])
    scim.tl.search(drawn, atlas_path, groupby="cluster", k=5)
    (ax,) = scim.pl.composition(drawn, ["query", "label"], top=2, only_similar=False).axes
    assert [t.get_text() for t in ax.get_yticklabels()] == [str(i) for i in range(14)]
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches[-14:]]
    np.testing.assert_allclose(ends, 1)


def test_composition_writes_number_and_distance_of_the_hits(drawn):
    (ax,) = scim.pl.composition(drawn, "tissue").axes
    counted = scim.get.composition(drawn, "tissue").set_index("tissue")
    names = [label.get_text() for label in ax.get_yticklabels()]
    expected = [f"{row.n_hits} at {row.median_distance:.2f}" for row in counted.loc[names].itertuples()]
    assert [text.get_text() for text in ax.texts] == expected


def test_pictures_without_a_similar_hit_say_so(drawn):
    drawn.obsm["scim_search_similar"][:] = False
    for figure in (scim.pl.hits(drawn), scim.pl.hits(drawn, value="B cell"), scim.pl.composition(drawn, "tissue")):
        assert next(text.get_text() for ax in figure.axes for text in ax.texts) == "no hit is like its query"
        figure.draw_without_rendering()


def test_axes_that_are_given_are_drawn_on(drawn):
    figure, axes = plt.subplots(1, 2)
    assert scim.pl.hits(drawn, ax=axes) is None
    assert axes[0].collections
    assert axes[1].collections
    assert scim.pl.labels(drawn, ax=axes[0]) is None
    assert scim.pl.composition(drawn, "label", ax=axes[1]) is None
    plt.close(figure)


def test_nothing_global_changes(drawn):
    before = dict(mpl.rcParams)
    scim.pl.hits(drawn)
    scim.pl.labels(drawn)
    scim.pl.composition(drawn, "label")
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []
