"""Nested circles: packing by brute force, circles against counted hits, names in or beside them."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Circle
from scipy import optimize

import scim
from scim.pl._circle_packing import pack_circles
from scim.pl._circle_text import fit_text, ink_on
from scim.pl._hits_circles import lay_out

mpl.use("agg")


@pytest.fixture
def searched(adata, atlas_path):
    scim.tl.search(adata, atlas_path, groupby="cell_type", k=20)
    return adata


@pytest.mark.parametrize("n", [1, 2, 3, 4, 9, 30])
def test_circles_do_not_overlap_and_are_enclosed(n):
    radii = np.random.default_rng(n).lognormal(0, 1, n)
    centers, radius = pack_circles(radii)
    gaps = np.linalg.norm(centers[:, None] - centers, axis=2) - radii[:, None] - radii
    np.fill_diagonal(gaps, np.inf)
    assert gaps.min() > -1e-9
    assert (np.linalg.norm(centers, axis=1) + radii).max() <= radius * (1 + 1e-12)
    if n > 1:
        assert np.isclose(gaps, 0, atol=1e-9).any(axis=1).all()  # each touches another

    def reach(center):
        return (np.linalg.norm(centers - center, axis=1) + radii).max()

    smallest = optimize.minimize(reach, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-8})
    assert radius <= 1.01 * smallest.fun
    assert (radii**2).sum() / radius**2 > (0.45 if n > 1 else 0.999)


def test_equal_circles_are_all_kept_apart():
    centers, radius = pack_circles(np.ones(7))
    assert radius == pytest.approx(3, rel=0.01)  # six around one
    assert len(np.unique(centers.round(6), axis=0)) == 7


def test_circles_are_the_counted_hits(searched):
    figure = scim.pl.hits_circles(searched, ["study", "label"], only_similar=False)
    counted = scim.get.composition(searched, ["query", "study", "label"], only_similar=False)
    queries = searched.uns["scim_search"]["groups"]
    for ax, query in zip(figure.axes, queries, strict=False):
        assert ax.get_title() == query
        rows = counted[counted["query"] == query]
        circles = [patch for patch in ax.patches if isinstance(patch, Circle) and patch.get_facecolor()[3] > 0]
        areas = sorted(circle.radius**2 for circle in circles[rows["study"].nunique() :])
        np.testing.assert_allclose(areas, sorted(rows["n_hits"]))
        low, high = ax.get_xlim()
        assert all(low <= c.center[0] - c.radius and c.center[0] + c.radius <= high for c in ax.patches)


def test_inner_circles_lie_in_their_outer_circle():
    frame = pd.DataFrame({"query": "q", "a": list("xxxyyz"), "b": list("uvwuvu"), "n_hits": [90, 4, 1, 30, 20, 2]})
    frame["share"] = frame["n_hits"] / frame["n_hits"].sum()
    circles = lay_out(frame, ["a", "b"], "n_hits")
    outer = circles[circles["inner"] == ""].set_index("outer")
    inner = circles[circles["inner"] != ""]
    assert outer["n_hits"].to_dict() == {"x": 95, "y": 50, "z": 2}
    np.testing.assert_allclose(inner["radius"] ** 2, inner["n_hits"])
    around = outer.loc[inner["outer"]]
    distance = np.hypot(inner["x"].to_numpy() - around["x"], inner["y"].to_numpy() - around["y"])
    assert (distance + inner["radius"].to_numpy() < around["radius"]).all()
    by_share = lay_out(frame, ["a", "b"], "share")
    np.testing.assert_allclose(by_share["radius"] * np.sqrt(147), circles["radius"])


def test_colours_are_the_significance_of_the_tested_column(searched, atlas_path):
    plain = scim.pl.hits_circles(searched, ["study", "label"], only_similar=False, atlas=atlas_path)
    assert plain.axes[-1].get_ylabel() == "share of the hits"
    record = _enrichment(searched, "label", q=[0.001, 0.2])
    searched.uns["scim_enrichment"] = record
    figure = scim.pl.hits_circles(searched, ["study", "label"], only_similar=False, atlas=atlas_path)
    assert figure.axes[-1].get_ylabel() == "-log10 q of label (grey: not significant)"
    table = record["table"]
    significant = table["value"][0]
    faces = _faces(figure.axes[0], table["query"][0])
    assert faces[significant] != "#d9d9d9"
    assert {faces[name] for name in faces if name != significant} == {"#d9d9d9"}
    searched.uns["scim_enrichment"] = _enrichment(searched, "tissue", q=[0.001, 0.2])
    other = scim.pl.hits_circles(searched, ["study", "label"], only_similar=False, atlas=atlas_path)
    assert other.axes[-1].get_ylabel() == "share of the hits"


def _enrichment(searched, by, q):
    counted = scim.get.composition(searched, ["query", by], only_similar=False)
    first = searched.uns["scim_search"]["groups"][0]
    values = list(counted[counted["query"] == first][by])[:2]
    table = pd.DataFrame({"query": first, "value": values, "q": q[: len(values)], "fraction": 0.25})
    return {"table": table, "params": {"by": by, "key": "scim_search"}}


def _faces(ax, query):
    """Colours of inner circles by the names that are written in them, or listed."""
    listed = {}
    for text in ax.texts:
        listed |= dict(
            line.split("  ", 1) for line in text.get_text().replace("\n     ", " ").split("\n") if "  " in line
        )
    found = {}
    for text in ax.texts:
        for circle in ax.patches:
            if circle.center == text.get_position():
                name = text.get_text().replace("\n", " ")
                found[listed.get(name, name)] = mpl.colors.to_hex(circle.get_facecolor())
    return found


def test_rare_values_are_joined_and_a_query_without_hits_is_named(searched, atlas_path):
    scim.tl.search(searched, atlas_path, groupby="cell_type", k=20, max_distance=0.0)
    figure = scim.pl.hits_circles(searched, ["study", "label"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["no hits"]
    scim.tl.search(searched, atlas_path, k=20)
    figure = scim.pl.hits_circles(searched, ["label", "study"], top=1, only_similar=False)
    assert figure.axes[0].get_title() == "all cells"
    joined = [text.get_text() for text in figure.axes[0].texts]
    assert any("other" in text for text in joined)


def test_names_fit_their_circle():
    assert fit_text("liver", 40).text == "liver"
    assert fit_text("liver", 40).size == 9
    fitted = fit_text("CD4-positive, alpha-beta memory T cell", 30)
    assert "\n" in fitted.text
    assert max(map(len, fitted.text.split("\n"))) * 0.58 * fitted.size <= 60
    assert fit_text("CD4-positive, alpha-beta memory T cell", 8) is None
    assert ink_on("#ffffff") == "#333333"
    assert ink_on("#08306b") == "white"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a: scim.pl.hits_circles(a, ["study"]), ValueError, r"two different columns .* got \['study'\]"),
        (lambda a: scim.pl.hits_circles(a, ["study", "study"]), ValueError, "two different columns"),
        (lambda a: scim.pl.hits_circles(a, ["study", "label"], area="cells"), ValueError, "area must be one of"),
        (lambda a: scim.pl.hits_circles(a, ["study", "label"], top=0), ValueError, "top must be"),
        (lambda a: scim.pl.hits_circles(a, ["study", "label"], max_q=2), ValueError, "max_q must be"),
        (lambda a: scim.pl.hits_circles(a, ["study", "label"], "Z"), KeyError, r"has no query \['Z'\]. Present: \["),
        (lambda a: scim.pl.hits_circles(a, ["study", "organ"]), KeyError, "organ"),
        (lambda a: scim.pl.hits_circles(a, ["study", "label"], key="mine"), KeyError, "run scim.tl.search"),
        (lambda a: scim.pl.hits_circles(a.X, ["study", "label"]), TypeError, "Expected an AnnData"),
    ],
)
def test_errors(searched, call, error, message):
    with pytest.raises(error, match=message):
        call(searched)


def test_given_axes(searched):
    axes = mpl.figure.Figure().subplots(1, 2)
    names = list(searched.uns["scim_search"]["groups"])[:2]
    assert scim.pl.hits_circles(searched, ["study", "label"], names, only_similar=False, ax=axes) is None
    assert [ax.get_title() for ax in axes] == names
