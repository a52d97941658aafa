from __future__ import annotations

import numpy as np
import pytest

import scim
from helpers import fakes


@pytest.fixture
def counted(writable):
    """60 cells with counts and an index, a few of them removed, with a gene that the model lacks."""
    first, second = fakes.cells(40, seed=4), fakes.cells(20, seed=5)
    second.var_names = ["strange", *second.var_names[1:]]
    writable.append(first, study="a", label_key="cell_type", counts=True)
    writable.append(second, study="b", label_key="cell_type", counts=True)
    writable.remove("cell_id == 'cell3'")
    writable.build_index()
    return writable


def truth(model):
    cells = [fakes.cells(40, seed=4), fakes.cells(20, seed=5)]
    cells[1].var_names = ["strange", *cells[1].var_names[1:]]
    rows = []
    for adata in cells:
        scim.tl.embed(adata, model=model)
        rows.append(np.delete(adata.obsm["X_scim"], 3, axis=0))
    return np.concatenate(rows)


def test_another_model_replaces_the_first(counted):
    model = fakes.tiny_model(seed=7)
    before = counted.embeddings()
    with scim.atlas.open(counted.path) as reader:
        counted.reembed(model)
        np.testing.assert_array_equal(reader.embeddings(), before)
        assert reader.model.uid != model.uid
    assert counted.model_uid == counted.model.uid == model.uid
    np.testing.assert_allclose(counted.embeddings(), truth(model), atol=1e-5)
    found = counted.index.query(counted.embeddings(), 1)
    np.testing.assert_allclose(found.distances, 0, atol=1e-6)
    assert scim.atlas.verify(counted.path) == []
    counted.vacuum()
    assert not (counted.path / "model").exists()
    assert scim.atlas.verify(counted.path) == []
    counted.append(fakes.cells(9, seed=6), study="c")
    assert counted.index.n_rows == counted.n_obs


def test_a_draft_is_read_on_request(counted):
    model = fakes.tiny_model(seed=7)
    with pytest.raises(ValueError, match="has no draft; reembed"):
        scim.atlas.open(counted.path, draft=True)
    with pytest.raises(ValueError, match="has no draft; reembed"):
        counted.publish()
    counted.reembed(model, publish=False)
    assert counted.model_uid != model.uid
    with scim.atlas.open(counted.path, draft=True) as draft:
        assert draft.model_uid == draft.model.uid == model.uid
        np.testing.assert_allclose(draft.embeddings(), truth(model), atol=1e-5)
        assert draft.index.n_rows == 58
    assert counted.info()["draft"] == {"model": model.uid, "cells": 60}
    assert scim.atlas.verify(counted.path) == []
    counted.publish()
    assert counted.model_uid == model.uid
    assert counted.info()["draft"] is None


def test_a_draft_is_extended_by_appended_cells(counted):
    model = fakes.tiny_model(seed=7)
    counted.reembed(model, publish=False)
    counted.append(fakes.cells(15, seed=6), study="c", label_key="cell_type", counts=True)
    with pytest.raises(ValueError, match="The draft has 60 of 75 cells: cells were appended since"):
        counted.publish()
    counted.reembed(model)
    assert counted.index.n_rows == counted.n_obs == 73
    late = fakes.cells(15, seed=6)
    scim.tl.embed(late, model=model)
    np.testing.assert_allclose(counted.embeddings()[-15:], late.obsm["X_scim"], atol=1e-5)
    assert scim.atlas.verify(counted.path) == []


def test_an_interrupted_reembedding_resumes(counted, monkeypatch):
    model = fakes.tiny_model(seed=7)
    monkeypatch.setattr("scim.atlas._rewrite._REEMBED_ROWS", 16)
    starts = []

    def encode(self, X, **how):
        starts.append(X.shape[0])
        if len(starts) == 3:
            raise KeyboardInterrupt
        return original(self, X, **how)

    original = scim.model.Model.encode
    monkeypatch.setattr(scim.model.Model, "encode", encode)
    with pytest.raises(KeyboardInterrupt):
        counted.reembed(model)
    assert counted.model_uid != model.uid
    counted.reembed(model)
    assert starts == [16, 16, 8, 8, 16, 4]  # a block of each is of one study; the third was cut off
    np.testing.assert_allclose(counted.embeddings(), truth(model), atol=1e-5)
    assert scim.atlas.verify(counted.path) == []


def test_without_counts_nothing_can_be_embedded_again(writable):
    writable.append(fakes.cells(20, seed=4), study="a", counts=True)
    writable.append(fakes.cells(10, seed=5), study="b")
    with pytest.raises(ValueError, match="The counts of 10 of 30 cells are not stored"):
        writable.reembed(fakes.tiny_model(seed=7))
    with pytest.raises(ValueError, match="is embedded with model .* already"):
        writable.reembed(writable.model)
    writable.remove("study == 'b'")
    writable.reembed(fakes.tiny_model(seed=7))
    assert writable.embeddings().shape == (20, 16)
