"""Distances of all cells of an atlas from a state, against numpy; never all of them in memory."""

from __future__ import annotations

import re

import numpy as np
import pytest

import scim
from scim._core import FilterError


@pytest.fixture
def atlas(atlas_path):
    with scim.atlas.open(atlas_path) as opened:
        yield opened


def means(adata, groupby):
    X = adata.obsm["X_scim"].astype(np.float64)
    rows = np.stack([X[(adata.obs[groupby] == name).to_numpy()].mean(axis=0) for name in names(adata, groupby)])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def names(adata, groupby):
    return sorted(adata.obs[groupby].unique())


@pytest.mark.parametrize("where", [None, "tissue == 'lung' and study == 'two'"])
@pytest.mark.parametrize("max_memory", [1, 4000, 10**8])
def test_distances_of_cells(adata, atlas, where, max_memory):
    ids = np.arange(atlas.n_obs) if where is None else atlas.select(where)
    frame = scim.tl.score_similarity(
        adata, "cell_type", atlas, where=where, centroid="embedding", max_memory=max_memory
    )
    assert frame.index.tolist() == ids.tolist()
    assert frame.index.name == "soma_joinid"
    assert frame.columns.tolist() == names(adata, "cell_type")
    assert (frame.dtypes == np.float32).all()
    np.testing.assert_allclose(frame, 1 - atlas.embeddings(ids) @ means(adata, "cell_type").T, atol=1e-6)


def test_the_state_is_the_query_of_a_search(adata, atlas):
    scim.tl.search(adata, atlas, groupby="cell_type", k=150, duplicates="keep")
    frame = scim.tl.score_similarity(adata, "cell_type", atlas)
    record = adata.uns["scim_search"]
    for i, name in enumerate(record["groups"]):
        np.testing.assert_allclose(frame.loc[record["ids"][i], name], record["distances"][i], atol=1e-6)


@pytest.mark.parametrize("max_memory", [100, 10**8])
def test_samples(adata, atlas, max_memory):
    frame = scim.tl.score_similarity(
        adata, "sample", atlas, sample_key="tissue", quantile=0.25, max_distance=0.1, centroid="embedding",
        max_memory=max_memory,
    )  # fmt: skip
    cells = scim.tl.score_similarity(adata, "sample", atlas, centroid="embedding")
    obs = atlas.obs(columns=["study", "tissue"])
    assert frame["query"].tolist() == ["sample0"] * 4 + ["sample1"] * 4
    assert frame[["study", "sample"]].iloc[:4].to_numpy().tolist() == [
        ["one", "blood"], ["one", "lung"], ["two", "blood"], ["two", "lung"],
    ]  # fmt: skip
    for row in frame.itertuples():
        of = cells.loc[((obs["study"] == row.study) & (obs["tissue"] == row.sample)).to_numpy(), row.query]
        assert row.n_cells == len(of)
        np.testing.assert_allclose(
            [row.mean, row.quantile, row.share], [of.mean(), np.quantile(of, 0.25), (of <= 0.1).mean()], rtol=1e-5
        )
    assert frame[["mean", "quantile"]].dtypes.tolist() == [np.float32, np.float32]


def test_samples_without_studies_within_the_label_radius(adata, atlas):
    frame = scim.tl.score_similarity(adata, "sample", atlas, sample_key="tissue", study_key=None)
    assert frame["sample"].tolist() == ["blood", "lung"] * 2
    assert (frame["study"] == "").all()
    cells = scim.tl.score_similarity(adata, "sample", atlas)
    blood = (atlas.obs(columns=["tissue"])["tissue"] == "blood").to_numpy()
    assert frame["share"][0] == (cells["sample0"][blood] <= atlas.label_radius).mean()


def test_cells_of_no_sample_are_left_out(adata, atlas):
    frame = scim.tl.score_similarity(adata, "sample", atlas, sample_key="note")
    assert frame["n_cells"].sum() == 2 * atlas.obs(columns=["note"])["note"].notna().sum()


def test_the_atlas_is_read_in_ranges(adata, atlas, monkeypatch):
    read, plain = [], type(atlas).embeddings
    monkeypatch.setattr(type(atlas), "embeddings", lambda self, ids: read.append(ids) or plain(self, ids))
    max_memory = 4 * (5 * atlas.dim + 6) * 20
    scim.tl.score_similarity(adata, "cell_type", atlas, where="n < 40", max_memory=max_memory)
    assert max(ids[-1] - ids[0] for ids in read) < 20
    np.testing.assert_array_equal(np.concatenate(read), atlas.select("n < 40"))


def test_the_input_stays_as_it_is(adata, atlas):
    before = adata.copy()
    scim.tl.score_similarity(adata, "cell_type", atlas)
    assert list(adata.obs) == list(before.obs)
    assert repr(adata.uns) == repr(before.uns)
    np.testing.assert_array_equal(adata.obsm["X_scim"], before.obsm["X_scim"])


def test_progress_is_shown_if_wanted(adata, atlas, monkeypatch, capsys):
    monkeypatch.setattr(scim.settings, "progress", True)
    scim.tl.score_similarity(adata, "cell_type", atlas)
    assert re.search(r"similarity.*150", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"groupby": "leiden"}, KeyError, r"obs\['leiden'\] not found. Present:"),
        ({"sample_key": "donor"}, KeyError, r"The atlas has no column \['donor'\]. Present:"),
        ({"sample_key": "tissue", "study_key": "batch"}, KeyError, r"The atlas has no column \['batch'\]"),
        ({"sample_key": 3}, TypeError, "sample_key must be text, got 3"),
        ({"where": "n > 1000"}, ValueError, "No cell of the atlas passes where='n > 1000'"),
        ({"where": "organ == 'x'"}, FilterError, "no column 'organ'"),
        ({"quantile": 1.5}, ValueError, "quantile must be between 0 and 1, got 1.5"),
        ({"max_distance": 3}, ValueError, "max_distance must be between 0 and 2"),
        ({"max_memory": 0}, ValueError, "max_memory must be at least 1"),
        ({"centroid": "median"}, ValueError, "centroid must be one of"),
        ({"use_rep": "X_none"}, KeyError, r"run scim.tl.embed\(adata\) first"),
    ],
)
def test_errors(adata, atlas, how, error, message):
    with pytest.raises(error, match=message):
        scim.tl.score_similarity(adata, **{"groupby": "cell_type", "atlas": atlas} | how)
    with pytest.raises(TypeError, match="Expected an AnnData, got ndarray"):
        scim.tl.score_similarity(adata.obsm["X_scim"], "cell_type", atlas)
