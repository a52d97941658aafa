from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes, oracles
from helpers.references import Rows, unit
from scim._core import FormatError
from scim.label_transfer import LabelTransfer

NAMES = np.array(["T cell", "B cell", "monocyte", "my cells"], object)


@pytest.fixture(scope="module")
def cells():
    """Rows of four types in three studies, their labels and their studies."""
    random = np.random.default_rng(0)
    types, studies = random.integers(0, 4, 400), random.integers(0, 3, 400)
    X = 2 * np.eye(4, 12)[types] + random.normal(scale=0.3, size=(400, 12))
    return X, NAMES[types], np.array(["a", "b", "c"])[studies]


@pytest.fixture(scope="module")
def transfer(cells):
    return LabelTransfer.fit(*cells)


def test_labels_ids_and_confidence(transfer, cells):
    X, labels, _ = cells
    found = transfer.predict(X[:50], max_error=1, level="label")
    assert found.labels.tolist() == labels[:50].tolist()
    assert set(found.label_ids) == {"CL:0000084", "CL:0000236", "CL:0000576", None}
    assert found.confidence.dtype == np.float32
    assert found.confidence.min() > 0.5
    assert found.distance.max() < 1e-6  # of the row itself
    assert found.n_studies.max() == 3
    assert transfer.labels[found.top_codes[:, 0]].tolist() == labels[:50].tolist()
    np.testing.assert_allclose(found.top_shares.sum(axis=1), 1, atol=0.05)
    assert transfer.labels.tolist() == sorted(NAMES)
    assert repr(transfer) == "LabelTransfer(400 cells, 4 labels, 3 studies held out)"


def test_rows_of_any_length_and_rows_of_zeros(transfer, cells):
    X = cells[0][:20]
    plain, scaled = transfer.predict(X), transfer.predict(1000 * X.astype(np.float32))
    assert plain.labels.tolist() == scaled.labels.tolist()
    np.testing.assert_allclose(plain.confidence, scaled.confidence, rtol=1e-4)
    nothing = transfer.predict(np.zeros((2, 12)), max_error=1, max_distance=2, statistics=True)
    assert nothing.labels.tolist() == [None, None]
    assert nothing.label_ids.tolist() == [None, None]
    assert nothing.confidence.tolist() == [0, 0]
    assert nothing.distance.tolist() == [np.inf, np.inf]
    assert np.isnan(nothing.novelty).all()
    assert nothing.n_empty == 2
    assert nothing.n_studies.tolist() == [0, 0]
    assert (nothing.top_codes == -1).all()
    assert (nothing.top_shares == 0).all()
    assert nothing.statistics.hits.nnz == 0
    assert plain.n_empty == 0
    assert transfer.predict(np.empty((0, 12))).labels.shape == (0,)


def test_novel_and_far_cells_are_unknown(transfer, cells):
    novel = 2 * np.eye(12)[[9]]
    assert transfer.predict(novel).labels.tolist() == [None]
    assert transfer.predict(novel, max_error=1).labels.tolist() != [None]
    assert transfer.predict(cells[0][:9], max_distance=0, k=1).terms.max() >= 0  # of the row itself
    assert transfer.predict(novel, max_error=1, max_distance=0.1).labels.tolist() == [None]


def test_allow_block_level_and_eligible(transfer, cells):
    X, labels, studies = cells
    allowed = transfer.predict(X, allow="lymphocyte", max_error=1, level="label")
    assert set(allowed.labels) == {"T cell", "B cell"}
    blocked = transfer.predict(X, block=["monocyte", "my cells"], max_error=1, level="label")
    np.testing.assert_array_equal(allowed.terms, blocked.terms)
    assert set(transfer.predict(X, level=["leukocyte", "my cells"], max_error=1).labels) == {"leukocyte", "my cells"}
    alone = transfer.predict(X, eligible=studies == "a", max_error=1, level="label")
    assert alone.n_studies.max() == 1
    assert (alone.labels == labels).mean() > 0.95
    fitted = LabelTransfer.fit(X[studies == "a"], labels[studies == "a"])
    np.testing.assert_allclose(fitted.predict(X, max_error=1).distance, alone.distance, atol=1e-6)
    np.testing.assert_allclose(fitted.predict(X, max_error=1).top_shares[:, 0], alone.top_shares[:, 0], rtol=1e-4)
    with pytest.raises(ValueError, match="No labelled cell of the reference is eligible: none passes the filter"):
        transfer.predict(X, eligible=studies == "d")


def test_groups_have_a_consensus(transfer, cells):
    X, labels, _ = cells
    found = transfer.predict(X, groups=pd.Series(labels).mask(labels == "monocyte"))
    assert found.groups["group"].tolist() == found.groups["label"].astype(str).tolist()
    assert found.groups["n_cells"].sum() == (labels != "monocyte").sum()
    assert transfer.predict(X).groups is None
    with pytest.raises(ValueError, match="groups has only missing values"):
        transfer.predict(X, groups=[None] * len(X))


def test_unlabelled_cells_and_duplicates_are_ignored(cells):
    X, labels, studies = cells
    some = np.where(np.arange(400) % 2, labels, None)
    half = LabelTransfer.fit(X, some, studies)
    assert half.index.n_rows == 200
    twice = LabelTransfer.fit(np.tile(X, (2, 1)), np.tile(some, 2), np.tile(studies, 2))
    assert twice.index.n_rows == 200
    assert twice.calibration == half.calibration


@pytest.mark.parametrize("kind", ["X", "exact", "rows"])
def test_cells_without_counts_are_left_out_of_the_reference(kind, cells, caplog):
    X, labels, studies = cells
    at = np.arange(0, 400, 20)  # 5 %, labelled
    with_empty = [np.insert(part, at, part[at], axis=0) for part in (unit(X), labels, studies)]
    empty = at + np.arange(20)
    with_empty[0][empty] = 0
    with_empty[1][empty[0]] = "a label of its own"
    make = {"X": lambda _: None, "exact": lambda X: scim.index.build(X, kind="exact"), "rows": Rows}[kind]
    pairs = [((unit(X), labels, studies), make(unit(X))), (with_empty, make(with_empty[0]))]
    with caplog.at_level("INFO", logger="scim"):
        plain, found = (
            LabelTransfer.fit(X if index is None else None, labels, studies, index=index)
            for (X, labels, studies), index in pairs
        )
    assert "left out 20 of 420 labelled cells: they have no counts" in caplog.text
    assert found.calibration == plain.calibration
    assert found.labels.tolist() == plain.labels.tolist()
    for name in ("label_weights", "centroids", "centroid_labels", "centroid_studies"):
        np.testing.assert_array_equal(getattr(found.reference, name), getattr(plain.reference, name))
    np.testing.assert_array_equal(found.predict(X + 0.1).confidence, plain.predict(X + 0.1).confidence)


def test_one_study_with_cells_without_counts_has_the_same_calibration(cells):
    X, labels, _ = cells
    more = np.concatenate([np.zeros((9, 12)), X]), np.concatenate([labels[:9], labels])
    assert LabelTransfer.fit(*more).calibration == LabelTransfer.fit(X, labels).calibration


def test_a_reference_of_cells_without_counts_is_refused():
    with pytest.raises(
        ValueError, match=r"No cell has a label; expected at least one \(2 labelled cells have no counts"
    ):
        LabelTransfer.fit(np.zeros((3, 4)), ["T cell", "B cell", None])


def test_groups_are_predicted_without_cells_that_have_no_counts(transfer, cells):
    X, labels, _ = cells
    X = np.concatenate([X[:40], np.zeros((15, 12))])
    groups = np.append(labels[:40], ["T cell"] * 10 + ["empty"] * 5)
    for max_error in (0.2, 1):
        found = transfer.predict(X, groups=groups, max_error=max_error).groups.set_index("group")
        plain = transfer.predict(X[:40], groups=groups[:40], max_error=max_error).groups.set_index("group")
        columns = plain.columns.drop("n_cells")
        pd.testing.assert_frame_equal(
            found.loc[plain.index, columns], plain[columns], check_categorical=False, check_dtype=False
        )
        assert found.loc["T cell", "n_cells"] == plain.loc["T cell", "n_cells"] + 10
        nothing = found.loc["empty"]
        assert pd.isna(nothing["label"])
        assert nothing[["n_cells", "confidence", "share", "unknown", "novel"]].tolist() == [5, 0, 0, 1, 0]
        assert np.isnan(nothing["novelty"])
        assert not nothing["mixed"]


def test_synonyms_and_ids_are_one_label(cells):
    X, labels, studies = cells
    words = labels.copy()
    words[labels == "T cell"] = np.where(np.arange((labels == "T cell").sum()) % 2, "CL:0000084", "T lymphocyte")
    found = LabelTransfer.fit(X, words, studies)
    assert found.labels.tolist() == sorted(NAMES)
    assert found.calibration == LabelTransfer.fit(X, labels, studies).calibration


def test_one_study_and_missing_studies(cells):
    X, labels, studies = cells
    assert LabelTransfer.fit(X, labels).calibration.n_studies == 0
    assert LabelTransfer.fit(X, labels, np.where(studies == "c", None, studies)).calibration.n_studies == 3


@pytest.mark.parametrize("kind", ["exact", "graph", "rows"])
def test_an_index_replaces_rows(kind, transfer, cells):
    X, labels, studies = cells
    index = Rows(unit(X)) if kind == "rows" else scim.index.build(X, kind=kind, rng=0)
    found = LabelTransfer.fit(None, labels, studies, index=index)
    np.testing.assert_allclose(found.calibration.known, transfer.calibration.known, rtol=0.05)
    queries = X[:40] + 0.1
    ours, theirs = found.predict(queries), transfer.predict(queries)
    assert ours.labels.tolist() == theirs.labels.tolist()
    np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=0.02)


@pytest.mark.parametrize("with_index", [False, True])
def test_saved_and_loaded(with_index, cells, tmp_path):
    X, labels, studies = cells
    index = scim.index.build(X, kind="exact") if with_index else None
    transfer = LabelTransfer.fit(None if with_index else X, labels, studies, index=index)
    transfer.save(tmp_path / "transfer")
    loaded = LabelTransfer.load(tmp_path / "transfer", index=index)
    assert loaded.calibration == transfer.calibration
    before, after = (found.predict(X + 0.2, groups=labels) for found in (transfer, loaded))
    assert before.labels.tolist() == after.labels.tolist()
    np.testing.assert_array_equal(before.confidence, after.confidence)
    pd.testing.assert_frame_equal(before.groups, after.groups)
    assert not list((tmp_path / "transfer").glob("*.pkl"))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        transfer.save(tmp_path / "transfer")
    transfer.save(tmp_path / "transfer", overwrite=True)
    if with_index:
        with pytest.raises(ValueError, match="saved without embeddings; pass index="):
            LabelTransfer.load(tmp_path / "transfer")
        fewer = scim.index.build(X[:9], kind="exact")
        with pytest.raises(ValueError, match="has 9 cells of 12 numbers, the label transfer 400 of 12"):
            LabelTransfer.load(tmp_path / "transfer", index=fewer)


def test_damaged_and_foreign_folders_are_refused(transfer, tmp_path):
    with pytest.raises(FileNotFoundError, match="not a scim label transfer"):
        LabelTransfer.load(tmp_path)
    transfer.save(tmp_path / "transfer")
    file = tmp_path / "transfer" / "label_transfer.json"
    content = json.loads(file.read_text())
    for change, words in (
        ({"format": "other"}, "is no label transfer of version 1"),
        ({"version": 2}, "is no label transfer of version 1"),
        ({"calibration": {"known": [1, 2]}}, "has changed since it was written"),
        ({"calibration": content["calibration"] | {"known": [9.0, 9.0]}}, "has changed since it was written"),
        ({"labels": ["T cell"]}, "has changed since it was written"),
        ({"arrays": {}}, "has changed since it was written"),
    ):
        file.write_text(json.dumps(content | change))
        with pytest.raises(FormatError, match=words):
            LabelTransfer.load(tmp_path / "transfer")
    file.write_text("{")
    with pytest.raises(FormatError, match="not readable JSON"):
        LabelTransfer.load(tmp_path / "transfer")
    file.write_text(json.dumps(content))
    codes = tmp_path / "transfer" / "codes.npy"
    codes.write_bytes(codes.read_bytes()[:-1] + b"\x07")
    with pytest.raises(FormatError, match=r"codes.npy' is damaged or missing"):
        LabelTransfer.load(tmp_path / "transfer")
    codes.unlink()
    with pytest.raises(FormatError, match=r"codes.npy' is damaged or missing"):
        LabelTransfer.load(tmp_path / "transfer")


@pytest.mark.parametrize(
    ("X", "labels", "studies", "words"),
    [
        (np.ones((3, 2)), ["a", "b"], None, r"Expected rows of X of shape \(2, 'dim'\), got \(3, 2\)"),
        (np.ones((2, 2)), ["a", "b"], ["s"], "Expected a study for each of 2 labels, got 1"),
        (np.ones((2, 2)), [None, None], None, "No cell has a label"),
        (np.ones(2), ["a", "b"], None, "Expected rows of X as a table of numbers"),
        (np.array([[1, 2], [np.nan, 1]]), ["a", "b"], None, "1 of 2 rows of X hold NaN or infinity"),
    ],
)
def test_wrong_input_of_fit(X, labels, studies, words):
    with pytest.raises(ValueError, match=words):
        LabelTransfer.fit(X, labels, studies)


def test_wrong_input_of_predict(transfer):
    for arguments, words in (
        ({"X": np.ones((2, 3))}, r"Expected queries of shape \('n', 12\), got \(2, 3\)"),
        ({"k": 0}, "k must be at least 1"),
        ({"weights": "near"}, "weights must be one of"),
        ({"duplicates": "drop"}, "duplicates must be one of"),
        ({"max_error": 2}, "max_error must be between 0 and 1"),
        ({"allow": "neuron"}, "allow names 'neuron', but the reference has no label"),
        ({"groups": ["a"]}, "Expected a group for each of 2 queries, got 1"),
        (
            {"eligible": np.ones(3, bool)},
            r"eligible must be true or false for each of 400 cells, got bool of shape \(3,\)",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            transfer.predict(**{"X": np.ones((2, 12))} | arguments)


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """Two studies of labelled toy cells with a random embedding, which separates some types."""
    path = tmp_path_factory.mktemp("label_transfer") / "toy.scim"
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
    scim.tl.annotate(query, atlas, k=k, max_error=max_error, expression=False)
    with scim.atlas.open(atlas) as opened:
        obs = opened.obs()
        X = opened.embeddings(obs.index.to_numpy())
        transfer = LabelTransfer.fit(X, obs["label"].to_numpy(object), obs["study"].to_numpy(object))
        calibration = opened.label_transfer().calibration
    np.testing.assert_allclose(transfer.calibration.known, calibration.known, rtol=0.02)
    np.testing.assert_allclose(transfer.calibration.errors, calibration.errors, atol=0.02)
    expected = query.obs["scim_label"].astype(object)
    prediction = transfer.predict(query.obsm["X_scim"], k=k, max_error=max_error)
    np.testing.assert_allclose(prediction.confidence, query.obs["scim_label_confidence"], atol=0.02)
    found = pd.Series(prediction.labels, index=expected.index)
    same = (found == expected) | (found.isna() & expected.isna())
    assert same.mean() > 0.97  # a threshold may fall between two predictions that are nearly as probable
    assert found.isna().iloc[3]


def test_a_duplicated_cell_counts_once():
    rows = oracles.unit([[1, 0.1], [1, 0.1], [1, 0.1], [1, -0.2], [1, -0.21]])
    transfer = LabelTransfer.fit(rows, np.array(list("aaabb"), object), np.array(["x"] * 5, object))
    assert transfer.index.n_rows == 3
    assert transfer.predict(oracles.unit([[1, -0.1]]), k=3, max_error=1).labels.tolist() == ["b"]
