"""The expression of the labels: measured when the index is built, extended by appends, and kept without the counts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes
from helpers.damage import edit_manifest, flip
from scim._core import FormatError
from scim.atlas import _expression


def pairs_of(atlas):
    """Pairs of label and study of the expression reference."""
    expression = atlas.label_transfer().expression
    return set() if expression is None else set(zip(expression.labels, expression.studies, strict=True))


def labelled_pairs(atlas):
    obs = atlas.obs(columns=["label", "study"]).dropna()
    return set(map(tuple, obs.drop_duplicates().to_numpy().tolist()))


def append(atlas, seed, study, *, label=None, **options):
    cells = fakes.cells(60, seed=seed)
    if label is not None:
        cells.obs["cell_type"] = label
    atlas.append(cells, study=study, label_key="cell_type", obs_columns=["n", "tissue"], **options)


def predicted(atlas, cells):
    """Labels, confidence and novelty of cells, by embedding and counts."""
    names = scim.pp.genes_of(cells.var)
    counts = scim.pp.find_counts(cells)
    X = atlas.model.embed(counts, scim.pp.match_genes(cells.var, atlas.model.genes))
    found = atlas.label_transfer().predict(X, counts=counts, genes=names)
    assert found.uses_expression == (atlas.snapshot.embedding.expression is not None)
    return pd.DataFrame({"label": found.labels, "confidence": found.confidence, "novelty": found.novelty})


@pytest.fixture(scope="module")
def three_studies(tmp_path_factory):
    path = tmp_path_factory.mktemp("built") / "w.scim"
    with scim.atlas.create(path, model=fakes.tiny_model()) as atlas:
        for seed, study in enumerate("abc"):
            append(atlas, seed, study)
        atlas.build_index()
    return path


@pytest.fixture
def built(three_studies, tmp_path):
    """Three studies, and an index: a copy, because to append and build takes seconds."""
    path = shutil.copytree(three_studies, tmp_path / "w.scim")
    with scim.atlas.open(path, mode="w") as atlas:
        yield atlas


def test_the_build_measures_the_expression(built):
    info = built.info()
    assert pairs_of(built) == labelled_pairs(built)
    assert info["expression"]["pairs"] == len(labelled_pairs(built)) == built.snapshot.embedding.expression.n
    assert 0 < info["expression"]["genes"] <= 111
    assert info["tissues"] == {"blood": 90, "lung": 90}
    expression = built.label_transfer().expression
    cells = fakes.cells(60, seed=1).to_df()
    of_type = np.log1p(cells.div(cells.sum(axis=1), axis=0) * 1e4)[fakes.cells(60, seed=1).obs["cell_type"] == "B cell"]
    mean = of_type.mean().set_axis(scim.pp.canonical_genes(cells.columns))[expression.genes]
    row = np.flatnonzero((expression.labels == "B cell") & (expression.studies == "b"))[0]
    assert np.corrcoef(mean, expression.means[row].astype(float))[0, 1] > 0.99


def test_other_columns_of_labels_have_none(built):
    assert built.label_transfer("tissue").expression is None


def test_an_append_extends_it(built):
    before = built.snapshot.embedding
    append(built, 7, "d", label="neuron")
    assert ("neuron", "d") in pairs_of(built)
    assert pairs_of(built) == labelled_pairs(built)
    after = built.snapshot.embedding
    assert after.index.confidence == before.index.confidence  # no calibration
    assert after.expression.name == "expression/000006.npz"
    built.append(fakes.cells(20, seed=8), study="e")  # nothing is labelled
    assert built.snapshot.embedding.expression == after.expression
    expression = built.label_transfer().expression
    assert (
        expression.genes.tolist()
        == _expression.read_expression(built.snapshot.storage, before.expression).genes.tolist()
    )


def test_a_new_label_is_not_novel_after_the_append(built):
    query = fakes.cells(30, seed=9)
    names = query.var_names.tolist()
    permuted = query[:, np.random.default_rng(0).permutation(len(names))].copy()
    permuted.var_names = names  # cells of no known type
    before = predicted(built, permuted)["novelty"].mean()
    reference = permuted.copy()
    reference.obs["cell_type"] = "neuron"
    built.append(reference, study="d", label_key="cell_type")
    assert predicted(built, permuted)["novelty"].mean() < before


def test_removed_pairs_are_dropped(built):
    built.remove("study == 'a'")
    assert pairs_of(built) == labelled_pairs(built)
    assert built.info()["expression"]["pairs"] == len(labelled_pairs(built)) + 3  # in the file until it is compacted
    built.remove("label == 'B cell'")
    assert pairs_of(built) == labelled_pairs(built)
    built.build_index()
    assert built.info()["expression"]["pairs"] == len(labelled_pairs(built)) == len(pairs_of(built))


def test_removed_cells_are_not_measured(built):
    built.remove("n >= 3 and study == 'a'")
    built.build_index()
    expression = built.label_transfer().expression
    assert expression.n_cells[expression.studies == "a"].sum() == 3


def test_compaction_keeps_what_was_measured(built):
    query = fakes.cells(30, seed=9)
    before, manifest = predicted(built, query), built.snapshot.manifest
    built.compact()
    assert built.snapshot.manifest.samples == manifest.samples
    assert built.snapshot.embedding.expression == manifest.published.expression
    pd.testing.assert_frame_equal(predicted(built, query), before)
    built.compact(samples=False)
    assert built.snapshot.manifest.samples == ()
    pd.testing.assert_frame_equal(predicted(built, query), before)
    assert scim.atlas.verify(built.path) == []


def test_compaction_drops_counts_and_means_of_removed_cells(built):
    kept = built.snapshot.manifest.samples
    built.remove("study == 'a' or study == 'b' and n == 4")
    built.compact()
    manifest = built.snapshot.manifest
    assert [entry.n for entry in manifest.samples] == [59, 60]
    assert manifest.samples[1] == kept[2]
    ids = _expression.read_ids(built.snapshot.storage, manifest.samples, manifest.n_rows)
    np.testing.assert_array_equal(ids, built.ids)
    assert manifest.published.expression.n == len(labelled_pairs(built))
    built.vacuum()
    left = {path.name for folder in ("samples", "expression") for path in (built.path / folder).iterdir()}
    names = [*manifest.samples, manifest.published.expression]
    assert left == {Path(entry.name).name for entry in names}
    assert scim.atlas.verify(built.path) == []


def test_a_build_without_samples_keeps_expression_and_calibration(built):
    built.compact(samples=False)
    built.vacuum()
    query, before = fakes.cells(30, seed=9), built.snapshot.embedding.index
    expected = predicted(built, query)
    built.build_index(seed=5)
    after = built.snapshot.embedding.index
    assert (after.confidence, after.expression.sha256) == (before.confidence, before.expression.sha256)
    pd.testing.assert_frame_equal(predicted(built, query), expected)
    append(built, 6, "d")  # few pairs have samples: the earlier expression is extended
    built.build_index()
    assert pairs_of(built) == labelled_pairs(built)
    assert built.snapshot.embedding.index.confidence == before.confidence


def test_if_most_pairs_have_samples_they_are_measured_again(built):
    built.compact(samples=False)
    before = built.snapshot.embedding.index.confidence
    more = fakes.cells(60, seed=5)
    more.obs_names = [f"more-{name}" for name in more.obs_names]
    for study in "bc":
        built.append(more, study=study, label_key="cell_type")
    built.build_index()
    assert pairs_of(built) == labelled_pairs(built)  # those of study a are kept
    assert built.snapshot.embedding.index.confidence != before


def test_stored_counts_take_the_place_of_samples(built, tmp_path):
    with scim.atlas.create(tmp_path / "counts.scim", model=fakes.tiny_model()) as atlas:
        for seed, study in enumerate("abc"):
            append(atlas, seed, study, counts=True)
        atlas.compact(samples=False)
        atlas.build_index()
        assert atlas.snapshot.manifest.samples == ()
        expression, expected = (a.label_transfer().expression for a in (atlas, built))
        assert expression.genes.tolist() == expected.genes.tolist()
        order = [np.lexsort((e.studies, e.labels)) for e in (expression, expected)]
        np.testing.assert_array_equal(expression.means[order[0]], expected.means[order[1]])
        # Another embedding has the expression of its labels too, and a calibration of its own.
        before = atlas.snapshot.embedding.index
        atlas.reembed(fakes.tiny_model(seed=5), publish=False)
        with scim.atlas.open(atlas.path, draft=True) as draft:
            assert pairs_of(draft) == labelled_pairs(atlas)
        atlas.publish()
        assert pairs_of(atlas) == labelled_pairs(atlas)
        assert atlas.snapshot.embedding.index.confidence != before.confidence
        assert scim.atlas.verify(atlas.path) == []


def test_an_atlas_of_an_earlier_version_opens(built):
    def as_before(content):
        content.pop("samples")
        content["space"]["index"].pop("expression")

    edit_manifest(built.path, as_before, copy=True)
    with scim.atlas.open(built.path, "w") as atlas:
        assert (atlas.snapshot.manifest.samples, atlas.snapshot.embedding.expression) == ((), None)
        assert atlas.info()["expression"] is None
        assert pairs_of(atlas) == set()
        append(atlas, 7, "d")
        assert pairs_of(atlas) == set()  # its calibration knows no expression
        assert len(atlas.snapshot.manifest.samples) == 1
        atlas.build_index()
        assert pairs_of(atlas) == {pair for pair in labelled_pairs(atlas) if pair[1] == "d"}
        assert json.loads((built.path / "atlas.json").read_text())["samples"]


@pytest.mark.parametrize("name", ["samples/000002-0.npz", "expression/000005.npz"])
@pytest.mark.parametrize("damage", ["flip", "missing"])
def test_damage_is_named_and_repaired(built, name, damage):
    file, manifest = built.path / name, built.snapshot.manifest
    if damage == "flip":
        flip(file, 0.5)
    else:
        file.unlink()
    part = "samples" if name.startswith("samples") else "index"
    problems = scim.atlas.verify(built.path)
    assert [(problem.part, problem.where) for problem in problems] == [(part, name)]
    what = "is missing" if damage == "missing" else "has changed since it was written"
    assert what in str(problems[0])
    with scim.atlas.open(built.path, "w") as atlas, pytest.raises(FormatError, match=f"{name} {what}"):
        atlas.label_transfer() if part == "index" else atlas.build_index()
    left = scim.atlas.verify(built.path, repair=True)
    assert [problem.part for problem in left] == ["earlier version"] * (part == "index")
    built.refresh()
    after = built.snapshot.manifest
    if part == "samples":
        assert after.samples == manifest.samples[1:]
        assert after.published.expression == manifest.published.expression
    else:
        assert after.published.index.confidence == manifest.published.index.confidence
    assert pairs_of(built) == labelled_pairs(built)
    built.vacuum()
    assert scim.atlas.verify(built.path) == []


def test_a_failed_append_leaves_no_sample(built, monkeypatch):
    def fail(*_):
        msg = "no"
        raise ValueError(msg)

    before = set(built.path.rglob("*.npz"))
    monkeypatch.setattr("scim.atlas._append.add_names", fail)
    with pytest.raises(ValueError, match="no"):
        append(built, 7, "d")
    assert set(built.path.rglob("*.npz")) == before
    assert scim.atlas.verify(built.path) == []


def test_a_remote_atlas_has_it_too(s3, built):
    with scim.atlas.create(s3.uri(), model=fakes.tiny_model()) as remote:
        for seed, study in enumerate("abc"):
            append(remote, seed, study)
        remote.build_index()
        for atlas in (remote, built):
            append(atlas, 7, "d", label="neuron")
            atlas.remove("study == 'a'")
            atlas.compact()
        assert [s.sha256 for s in remote.snapshot.manifest.samples] == [
            s.sha256 for s in built.snapshot.manifest.samples
        ]
        assert pairs_of(remote) == labelled_pairs(remote) == pairs_of(built)
        query = fakes.cells(20, seed=9)
        pd.testing.assert_frame_equal(predicted(remote, query), predicted(built, query))
        remote.compact(samples=False)
        remote.vacuum()
        assert remote.snapshot.storage.files("samples") == []
        assert scim.atlas.verify(remote.uri) == []
