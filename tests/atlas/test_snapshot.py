"""A snapshot never changes; refresh replaces it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes


@pytest.fixture
def grown(writable):
    writable.append(fakes.cells(40, seed=1), study="a", label_key="cell_type", obs_columns=["n"])
    writable.build_index()
    return writable


def test_a_snapshot_stays_at_its_commit(grown):
    with scim.atlas.open(grown.path) as reader:
        before = reader.snapshot
        obs, embeddings = before.obs(), before.embeddings()
        grown.append(fakes.cells(9, seed=2), study="b")
        assert not hasattr(before, "refresh")
        assert reader.snapshot is before
        assert reader.refresh()
        assert reader.snapshot is not before
        assert (before.manifest.n_obs, reader.snapshot.manifest.n_obs) == (40, 49)
        pd.testing.assert_frame_equal(before.obs(), obs)
        np.testing.assert_array_equal(before.embeddings(), embeddings)
        assert not reader.refresh()


def test_each_change_makes_the_next_snapshot(grown):
    snapshots = [grown.snapshot]
    grown.remove("n < 5")
    snapshots.append(grown.snapshot)
    grown.compact()
    snapshots.append(grown.snapshot)
    assert [snapshot.manifest.number for snapshot in snapshots] == [3, 4, 5]
    assert [len(snapshot.obs(columns=["study"])) for snapshot in snapshots] == [40, 35, 35]


@pytest.mark.parametrize("name", ["ids", "columns", "labels", "model", "index", "marks_primary"])
def test_an_atlas_reads_its_snapshot(grown, name):
    with scim.atlas.open(grown.path) as reader:
        value = getattr(reader, name)
        assert value is getattr(reader.snapshot, name) or value == getattr(reader.snapshot, name)


def test_a_closed_atlas_reads_nothing(grown):
    reader = scim.atlas.open(grown.path)
    snapshot = reader.snapshot
    assert len(reader.obs()) == 40
    reader.close()
    reader.close()
    assert (reader.version, reader.n_obs, reader.uri) == (3, 40, str(grown.path))
    for read in (reader.obs, reader.embeddings, reader.info, lambda: reader.ids, lambda: reader.index, reader.refresh):
        with pytest.raises(ValueError, match="is closed; open it again"):
            read()
    with pytest.raises(ValueError, match="is closed; open it again"):
        snapshot.embeddings()


def test_a_draft_is_a_snapshot_too(writable):
    writable.append(fakes.cells(40, seed=1), study="a", counts=True)
    with pytest.raises(ValueError, match="has no draft"):
        scim.atlas.open(writable.path, draft=True)
    model = fakes.tiny_model(seed=3)
    writable.reembed(model, publish=False)
    with scim.atlas.open(writable.path, draft=True) as draft:
        assert draft.model_uid == draft.snapshot.embedding.model == model.uid
        assert writable.model_uid != model.uid
