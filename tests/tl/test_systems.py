"""Systems ranked by their similarity to a state, against the scores of their samples and a plain bootstrap."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

import scim
from scim.tl._systems import interval


@pytest.fixture
def atlas(atlas_path):
    with scim.atlas.open(atlas_path) as opened:
        yield opened


def ranked(adata, atlas, **how):
    defaults = {"system_key": "tissue", "sample_key": "label", "min_cells": 1, "max_distance": 0.15}
    return scim.tl.rank_systems(adata, "cell_type", atlas, **defaults | how)


def donors(adata, atlas, **how):
    """The scores of each label within each study and tissue, from the distances of all cells."""
    cells = scim.tl.score_similarity(adata, "cell_type", atlas, **how)
    obs = atlas.obs(columns=["study", "tissue", "label"])
    rows = []
    for query in cells:
        for (study, tissue, label), of in cells[query].groupby([obs[name].to_numpy() for name in obs.columns[-3:]]):
            values = of.to_numpy(np.float64)
            rows.append((query, tissue, study, label, len(of), (values <= 0.15).mean(), np.quantile(values, 0.1)))
    return pd.DataFrame(rows, columns=["query", "system", "study", "label", "n_cells", "share", "quantile"])


@pytest.mark.parametrize("by", ["share", "quantile"])
def test_a_system_has_the_mean_of_its_donors(adata, atlas, by):
    frame = ranked(adata, atlas, by=by)
    expected = donors(adata, atlas).groupby(["query", "system"])
    assert list(frame) == ["query", "system", "rank", "n_samples", "n_cells", "share", "quantile", "low", "high"]
    assert len(frame) == expected.ngroups
    for row in frame.itertuples():
        of = expected.get_group((row.query, row.system))
        assert (row.n_samples, row.n_cells) == (len(of), of["n_cells"].sum())
        np.testing.assert_allclose([row.share, row.quantile], of[["share", "quantile"]].mean(), rtol=1e-5)
        assert of[by].min() - 1e-6 <= row.low <= getattr(row, by) <= row.high <= of[by].max() + 1e-6
    assert frame["query"].drop_duplicates().tolist() == sorted(adata.obs["cell_type"].unique())
    for _, of in frame.groupby("query"):
        assert of[by].is_monotonic_decreasing if by == "share" else of[by].is_monotonic_increasing
        assert of["rank"].tolist() == of[by].rank(method="min", ascending=by == "quantile").tolist()


def test_interval_by_a_plain_bootstrap():
    scores = np.array([0.0, 0.2, 0.9, 0.4])
    drawn = np.random.default_rng(3).integers(4, size=(500, 4))
    means = [sum(scores[i] for i in row) / 4 for row in drawn]
    expected = np.quantile(means, [0.05, 0.95])
    np.testing.assert_allclose(interval(scores, 0.9, 500, np.random.default_rng(3)), expected)
    assert interval(np.full(3, 0.5), 0.95, 100, np.random.default_rng(0)) == (0.5, 0.5)
    # Two donors: a quarter of the samples has one of them alone, so that the interval spans both.
    assert interval(np.array([0.1, 0.7]), 0.95, 2000, np.random.default_rng(0)) == (0.1, 0.7)


def test_the_interval_covers_the_mean_of_many_donors():
    rng, n_covered = np.random.default_rng(0), 0
    for _ in range(200):
        low, high = interval(rng.beta(2, 5, size=30), 0.95, 400, rng)
        n_covered += low <= 2 / 7 <= high
    assert 0.88 <= n_covered / 200 <= 0.99


def test_one_donor_has_no_interval(adata, atlas, caplog):
    with caplog.at_level(logging.INFO, logger="scim"):
        frame = ranked(adata, atlas, where="label == 'B cell' and study == 'one'")
    assert (frame["n_samples"] == 1).all()
    assert frame[["low", "high"]].isna().all(axis=None)
    assert "no interval for systems of one label: blood, lung" in caplog.text


def test_donors_with_few_cells_are_left_out(adata, atlas, caplog):
    sizes = donors(adata, atlas).drop_duplicates(["system", "study", "label"])
    least = int(sizes["n_cells"].max())
    with caplog.at_level(logging.INFO, logger="scim"):
        frame = ranked(adata, atlas, min_cells=least)
    kept = sizes[sizes["n_cells"] >= least]
    assert set(frame["system"]) == set(kept["system"])
    assert frame.groupby("system")["n_cells"].first().to_dict() == kept.groupby("system")["n_cells"].sum().to_dict()
    for name in set(sizes["system"]) - set(kept["system"]):
        assert f"left out, with no label of {least} cells: {name}" in caplog.text
    with pytest.raises(ValueError, match=r"No label has 1000 cells in one tissue; pass a smaller min_cells"):
        ranked(adata, atlas, min_cells=1000)


def test_systems_that_are_studies_and_donors_in_two_systems(adata, atlas):
    by_study = ranked(adata, atlas, system_key="study")
    assert set(by_study["system"]) == {"one", "two"}
    samples = scim.tl.score_similarity(adata, "cell_type", atlas, sample_key="label", system_key="tissue")
    assert list(samples)[:5] == ["query", "study", "sample", "system", "n_cells"]
    assert not samples.duplicated(["query", "study", "sample", "system"]).any()
    plain = scim.tl.score_similarity(adata, "cell_type", atlas, sample_key="label")
    assert samples["n_cells"].sum() == plain["n_cells"].sum()
    assert len(samples) > len(plain)


def test_the_same_seed_gives_the_same_interval(adata, atlas):
    one, two = (ranked(adata, atlas, rng=5) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    wide, narrow = (ranked(adata, atlas, level=level) for level in (0.99, 0.5))
    assert (wide["low"] <= narrow["low"]).all()
    assert (wide["high"] >= narrow["high"]).all()


@pytest.mark.parametrize(
    ("how", "error", "match"),
    [
        ({"by": "mean"}, ValueError, r"by must be one of \['quantile', 'share'\], got 'mean'"),
        ({"system_key": "culture"}, KeyError, r"The atlas has no column \['culture'\]. Present:"),
        ({"sample_key": "donor"}, KeyError, r"The atlas has no column \['donor'\]"),
        ({"sample_key": None}, ValueError, "system_key='tissue' divides samples; pass sample_key too"),
        ({"min_cells": 0}, ValueError, "min_cells must be at least 1, got 0"),
        ({"n_resamples": 0}, ValueError, "n_resamples must be at least 1, got 0"),
        ({"level": 1.5}, ValueError, "level must be between 0 and 1, got 1.5"),
        ({"where": "n > 1000"}, ValueError, "No cell of the atlas passes"),
        ({"leaf": 2}, TypeError, "unexpected keyword argument 'leaf'"),
    ],
)
def test_errors(adata, atlas, how, error, match):
    with pytest.raises(error, match=match):
        ranked(adata, atlas, **how)
