from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes, oracles
from scim.model.evaluation._annotate import annotate, reach, reference


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """Two studies of labelled toy cells whose random embedding tells types apart now and then."""
    path = tmp_path_factory.mktemp("evaluation") / "toy.scim"
    with scim.atlas.create(path, model=fakes.tiny_model()) as made:
        for i, study in enumerate(("one", "two")):
            made.append(scim.datasets.toy(120, rng=i), study=study, label_key="cell_type")
        made.build_index()
    return path


@pytest.mark.parametrize("k", [1, 8, 50])
@pytest.mark.parametrize("max_distance", [None, 0.02, 2.0])
def test_labels_are_those_of_tl_annotate(atlas, k, max_distance):
    query = scim.datasets.toy(90, rng=9)
    query.X.data[query.X.indptr[3] : query.X.indptr[4]] = 0  # a cell without counts
    with pytest.warns(UserWarning, match="no count"):
        scim.tl.embed(query, atlas)
    scim.tl.annotate(query, atlas, k=k, max_distance=max_distance)
    with scim.atlas.open(atlas) as opened:
        obs = opened.obs()
        X = opened.embeddings(obs.index.to_numpy())
        random = np.random.default_rng(0)
        known = reference(
            X, obs["label"].to_numpy(object), obs["study"].to_numpy(object), max_distance=max_distance, random=random
        )
        if max_distance is None:
            assert known.limit == pytest.approx(1.5 * opened.reach, rel=1e-5)
    expected = query.obs["scim_label"].astype(object)
    found = pd.Series(annotate(query.obsm["X_scim"], known, k), index=expected.index)
    assert found.isna().equals(expected.isna())
    assert (found == expected)[expected.notna()].all()
    assert found.isna().iloc[3]


def test_a_cell_that_is_there_twice_votes_once():
    rows = oracles.unit([[1, 0.1], [1, 0.1], [1, 0.1], [1, -0.2], [1, -0.21]])
    known = reference(
        rows,
        np.array(list("aaabb"), object),
        np.array(["x"] * 5, object),
        max_distance=2.0,
        random=np.random.default_rng(0),
    )
    assert len(known.X) == 3
    assert annotate(oracles.unit([[1, -0.1]]), known, 3).tolist() == ["b"]


def test_reach_by_hand():
    # the a of one study are 1 - cos away from those of the other; b is in one study alone and says nothing
    rows = oracles.unit([[1, 0], [1, 0.1], [1, 1], [0, 1], [0, -1]])
    labels, studies = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 0, 0, 0])
    between = oracles.cosine_distances(rows, rows)
    each = [between[0, 1], between[1, 0], between[2, 1]]
    assert reach(rows, labels, studies, np.random.default_rng(0)) == pytest.approx(np.quantile(each, 0.995), rel=1e-6)


def test_reach_of_one_study_is_that_of_the_nearest_cell():
    rows = oracles.unit(np.random.default_rng(0).normal(size=(20, 4)))
    between = oracles.cosine_distances(rows, rows)
    np.fill_diagonal(between, np.inf)
    found = reach(rows, np.zeros(20, int), np.zeros(20, int), np.random.default_rng(0))
    assert found == pytest.approx(np.quantile(between.min(axis=1), 0.995), rel=1e-6)


def test_a_lone_cell_reaches_everything():
    found = reach(np.eye(2, dtype=np.float32)[:1], np.zeros(1, int), np.zeros(1, int), np.random.default_rng(0))
    assert found == 2.0
