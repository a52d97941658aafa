from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes, oracles
from scim.label_transfer import LabelTransfer


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """Two studies of labelled toy cells whose random embedding tells types apart now and then."""
    path = tmp_path_factory.mktemp("evaluation") / "toy.scim"
    with scim.atlas.create(path, model=fakes.tiny_model()) as atlas:
        for i, study in enumerate(("one", "two")):
            atlas.append(scim.datasets.toy(120, rng=i), study=study, label_key="cell_type")
        atlas.build_index()
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
        transfer = LabelTransfer.fit(X, obs["label"], obs["study"])
        stored = opened.label_transfer().calibration
    np.testing.assert_allclose(transfer.calibration.known, stored.known, rtol=0.02)
    np.testing.assert_allclose(transfer.calibration.errors, stored.errors, atol=0.02)
    expected = query.obs["scim_label"].astype(object)
    prediction = transfer.predict(query.obsm["X_scim"], k=k, max_error=max_error)
    np.testing.assert_allclose(prediction.confidence, query.obs["scim_label_confidence"], atol=0.02)
    labels = pd.Series(prediction.labels, index=expected.index)
    same = (labels == expected) | (labels.isna() & expected.isna())
    assert same.mean() > 0.97  # a threshold may fall between two labels that are nearly as probable
    assert labels.isna().iloc[3]


def test_duplicates_count_once():
    rows = oracles.unit([[1, 0.1], [1, 0.1], [1, 0.1], [1, -0.2], [1, -0.21]])
    transfer = LabelTransfer.fit(rows, np.array(list("aaabb"), object), np.array(["x"] * 5, object))
    assert len(transfer.reference.codes) == 3
    assert transfer.predict(oracles.unit([[1, -0.1]]), k=3, max_error=1).labels.tolist() == ["b"]
