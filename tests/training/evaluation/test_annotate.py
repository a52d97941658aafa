from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes, oracles
from scim.training.evaluation._annotate import annotate, reference


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
@pytest.mark.parametrize("max_error", [0.1, 1.0])
def test_labels_are_those_of_tl_annotate(atlas, k, max_error):
    query = scim.datasets.toy(90, rng=9)
    query.X.data[query.X.indptr[3] : query.X.indptr[4]] = 0  # a cell without counts
    with pytest.warns(UserWarning, match="no count"):
        scim.tl.embed(query, atlas)
    scim.tl.annotate(query, atlas, k=k, max_error=max_error)
    with scim.atlas.open(atlas) as opened:
        obs = opened.obs()
        X = opened.embeddings(obs.index.to_numpy())
        known = reference(X, obs["label"].to_numpy(object), obs["study"].to_numpy(object))
        learned = opened.electorate().confidence
    np.testing.assert_allclose(known.confidence.known, learned.known, rtol=0.02)
    np.testing.assert_allclose(known.confidence.errors, learned.errors, atol=0.02)
    expected = query.obs["scim_label"].astype(object)
    said = annotate(query.obsm["X_scim"], known, k=k, max_error=max_error)
    np.testing.assert_allclose(said.confidence, query.obs["scim_label_confidence"], atol=0.02)
    found = pd.Series(said.labels, index=expected.index)
    same = (found == expected) | (found.isna() & expected.isna())
    assert same.mean() > 0.97  # a threshold may fall between two answers that are nearly as probable
    assert found.isna().iloc[3]


def test_a_cell_that_is_there_twice_votes_once():
    rows = oracles.unit([[1, 0.1], [1, 0.1], [1, 0.1], [1, -0.2], [1, -0.21]])
    known = reference(rows, np.array(list("aaabb"), object), np.array(["x"] * 5, object))
    assert len(known.X) == 3
    assert annotate(oracles.unit([[1, -0.1]]), known, k=3, max_error=1).labels.tolist() == ["b"]
