"""Planted corruptions: each is detected and named, none gives a wrong result, and derived data is rebuilt."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import scim
from helpers import fakes
from helpers.damage import flip, results_of, truncate, whole_atlas, wrong_results
from helpers.planted import ALIKE, COUNTS, DRAFT, EMBEDDING, OBS, PLANTED, VAR, WRONG_INDEX, drop_fragment, reindexed
from scim._core import FormatError

# Kind of file, the part that is named, and whether it can be repaired. The last file of the pattern is damaged.
FILES = {
    "manifest": ("atlas.json", "manifest", True),
    "copy of the manifest": ("commits/000006.json", "manifest", True),
    "earlier commit": ("commits/000003.json", "earlier version", False),
    "inventory": ("ledger/000006.json", "inventory", True),
    "earlier inventory": ("ledger/000003.json", "earlier version", True),
    "earlier names": ("names/000002.npy", "earlier version", True),
    "names": ("names/000004.npy", "names", True),
    "removed": ("removed/*", "removed", True),
    "measured genes": ("panels/*", "store", False),
    "samples": ("samples/000002-0.npz", "samples", True),
    "earlier expression": ("expression/000003.npz", "earlier version", False),
    "model: config": ("model/config.json", "model", False),
    "model: genes": ("model/genes.tsv", "model", False),
    "model: labels": ("model/labels.tsv", "model", False),
    "model: weights": ("model/weights.safetensors", "model", False),
    "draft: weights": ("models/*/weights.safetensors", "model", False),
    "index: header": ("index/v000003/index.json", "index", True),
    "index: rows": ("index/v000003/rows.npy", "index", True),
    "index: ids": ("index/v000004/ids.npy", "index", True),
    "index: codes": ("index/v000004/column6_codes.npy", "index", True),
    "index: text": ("index/v000003/column2_text.npy", "index", True),
    "index: offsets": ("index/v000003/column3_offsets.npy", "index", True),
    "index: numbers": ("index/v000003/column4_values.npy", "index", True),
    "draft: index": ("index/v000006/rows.npy", "index", True),
    "group of all": ("soma/__group/*", "store", False),
    "group of embeddings": ("soma/ms/RNA/obsm/__group/*", "store", False),
    "group marker": ("soma/ms/RNA/__tiledb_group.tdb", "store", False),
    "group facts": ("soma/ms/__meta/*", "store", False),
    "obs: schema": (f"{OBS}/__schema/*", "store", False),
    "obs: facts": (f"{OBS}/__meta/*", "store", False),
    "obs: commit marker": (f"{OBS}/__commits/*.wrt", "store", False),
    "obs: deletion": (f"{OBS}/__commits/*.del", "store", False),
    "obs: fragment metadata": (f"{OBS}/__fragments/*/__fragment_metadata.tdb", "store", False),
    "obs: ids": (f"{OBS}/__fragments/*/d0.tdb", "store", False),
    "obs: offsets": (f"{OBS}/__fragments/*/a2.tdb", "store", False),
    "obs: text": (f"{OBS}/__fragments/*/a2_var.tdb", "store", False),
    "obs: validity": (f"{OBS}/__fragments/*/a2_validity.tdb", "store", False),
    "obs: later numbers": (f"{OBS}/__fragments/*/a5.tdb", "store", False),
    "obs: later text": (f"{OBS}/__fragments/*/a7_var.tdb", "store", False),
    "obs: later validity": (f"{OBS}/__fragments/*/a8_validity.tdb", "store", False),
    "counts: schema": (f"{COUNTS}/__schema/*", "store", False),
    "counts: commit marker": (f"{COUNTS}/__commits/*.wrt", "store", False),
    "counts: deletion": (f"{COUNTS}/__commits/*.del", "store", False),
    "counts: fragment metadata": (f"{COUNTS}/__fragments/*/__fragment_metadata.tdb", "store", False),
    "counts: cells": (f"{COUNTS}/__fragments/*/d0.tdb", "store", False),
    "counts: genes": (f"{COUNTS}/__fragments/*/d1.tdb", "store", False),
    "counts: values": (f"{COUNTS}/__fragments/*/a0.tdb", "store", False),
    "embedding: schema": (f"{EMBEDDING}/__schema/*", "store", False),
    "embedding: commit marker": (f"{EMBEDDING}/__commits/*", "store", False),
    "embedding: fragment metadata": (f"{EMBEDDING}/__fragments/*/__fragment_metadata.tdb", "store", False),
    "embedding: values": (f"{EMBEDDING}/__fragments/*/a0.tdb", "store", False),
    "draft: values": (f"{DRAFT}/__fragments/*/a0.tdb", "store", False),
    "genes: commit marker": (f"{VAR}/__commits/*", "store", False),
    "genes: text": (f"{VAR}/__fragments/*/a0_var.tdb", "store", False),
}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return whole_atlas(tmp_path_factory.mktemp("verify") / "whole.scim")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another atlas of as many cells, made the same way."""
    return whole_atlas(tmp_path_factory.mktemp("verify") / "other.scim", seed=10)


@pytest.fixture(scope="module")
def truth(original):
    found = results_of(original)
    assert not [result for result in found.values() if isinstance(result, Exception)]
    return found


@pytest.fixture
def path(original, tmp_path):
    return shutil.copytree(original, tmp_path / "atlas.scim")


def test_a_whole_atlas_has_no_problems(original, truth):
    before = {file: file.stat().st_mtime_ns for file in original.rglob("*")}
    assert scim.atlas.verify(original) == []
    assert scim.atlas.verify(original, repair=True) == []
    assert {file: file.stat().st_mtime_ns for file in original.rglob("*")} == before
    assert wrong_results(results_of(original), truth) == []


def file_of(path, kind):
    return max(found for found in path.glob(FILES[kind][0]) if found.is_file())


def named(problems):
    assert not [problem for problem in problems if "\n" in str(problem)]
    return [(problem.part, problem.where, problem.repairable) for problem in problems]


# Without these no other file can be checked.
APART = {"manifest", "copy of the manifest", "inventory", "earlier commit", "index: header"}


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_every_damaged_file_is_named(damage, path, original):
    expected = set()
    for kind, (_, part, repairable) in FILES.items():
        file = file_of(original, kind)
        expected.add((part, str(file.relative_to(original)), repairable))
        file = path / file.relative_to(original)
        if damage != "missing" and not file.stat().st_size:
            expected.discard((part, str(file.relative_to(path)), repairable))
            continue
        how = {"flipped": lambda file: flip(file, 0.4), "truncated": truncate, "missing": Path.unlink}[damage]
        raw = file.read_bytes()
        how(file)
        if kind in APART:
            assert (part, str(file.relative_to(path)), repairable) in named(scim.atlas.verify(path))
            expected.discard((part, str(file.relative_to(path)), repairable))
            file.write_bytes(raw)
    assert expected <= set(named(scim.atlas.verify(path)))


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_gives_no_wrong_result_and_is_rebuilt(kind, path, truth):
    file, (_, part, repairable) = file_of(path, kind), FILES[kind]
    raw = file.read_bytes()
    if raw:
        flip(file, np.random.default_rng(len(kind)).random())
        assert wrong_results(results_of(path, ways(kind)), truth) == []
    file.unlink()
    assert wrong_results(results_of(path, ways(kind)), truth) == []
    left = scim.atlas.verify(path, repair=True)
    if repairable:
        assert left == []
        assert_repaired(path, truth)
    else:
        assert (part, str(file.relative_to(path)), False) in named(left)


def ways(kind):
    """Return the ways to open the atlas in which a file of this kind is read."""
    if "group" in kind or "manifest" in kind or "schema" in kind:
        return ["index", "store", "draft", "earlier"]
    return ["draft"] if "draft" in kind else ["earlier"] if "earlier" in kind else ["index", "store"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_no_flipped_bit_gives_a_wrong_result(kind, path, truth):
    file = file_of(path, kind)
    raw = file.read_bytes()
    for share in np.random.default_rng(100 + len(kind)).random(4) if raw else ():
        flip(file, share)
        assert wrong_results(results_of(path), truth) == []
        file.write_bytes(raw)
    truncate(file)
    assert wrong_results(results_of(path), truth) == []


def assert_repaired(path, truth):
    found = results_of(path)
    assert not [result for result in found.values() if isinstance(result, Exception)]
    for name in ("index: cells", "store: cells"):  # the version may be a later one
        found[name] = (found[name][0], truth[name][1], *found[name][2:])
    assert wrong_results(found, truth) == []


@pytest.mark.parametrize("case", [pytest.param(case, marks=[pytest.mark.slow] * (case in ALIKE)) for case in PLANTED])
def test_planted_corruptions_are_named_and_give_no_wrong_result(case, path, other, truth):
    plant, part, words, repairable = PLANTED[case]
    plant(path, other)
    assert wrong_results(results_of(path), truth) == []
    problems = scim.atlas.verify(path)
    found = [problem for problem in problems if problem.part == part and words in str(problem)]
    assert found, problems
    assert found[0].repairable is repairable
    if repairable:
        assert scim.atlas.verify(path, repair=True) == []
        assert_repaired(path, truth)
    else:
        assert found[0] in scim.atlas.verify(path, repair=True)


@pytest.mark.parametrize("case", WRONG_INDEX)
def test_an_index_of_other_rows_is_named_and_rebuilt(case, path, truth):
    reindexed(path, WRONG_INDEX[case])
    problems = scim.atlas.verify(path)
    assert [problem[:2] for problem in problems] == [("index", "index/v000003")]
    assert f"{case} of 1 cells differs from the store, as of cells [7]" in problems[0].what
    left = scim.atlas.verify(path, repair=True)
    assert {problem.part for problem in left} <= {"earlier version"}
    assert_repaired(path, truth)


def test_an_older_copy_of_the_manifest_is_named_and_nothing_is_lost(path, truth):
    shutil.copy(path / "commits/000004.json", path / "atlas.json")
    with scim.atlas.open(path) as atlas, scim.atlas.open(path, at=4) as version:
        assert atlas.version == 4
        assert atlas.obs().equals(version.obs())
    with scim.atlas.open(path, "w") as atlas, pytest.raises(FormatError, match="replaced by an older copy"):
        atlas.remove("study == 'two'")
    (problem,) = scim.atlas.verify(path)
    assert problem[:2] == ("manifest", "atlas.json")
    assert scim.atlas.verify(path, repair=True) == []
    assert wrong_results(results_of(path), truth) == []


def test_a_lost_last_commit_raises(path):
    truncate(path / "atlas.json")
    truncate(path / "commits/000006.json")
    files = sorted(path.rglob("*"))
    with pytest.raises(FormatError, match="Neither atlas.json nor commits/000006.json"):
        scim.atlas.verify(path, repair=True)
    assert sorted(path.rglob("*")) == files


def test_an_inventory_is_not_written_over_damage(path):
    (path / "ledger/000006.json").unlink()
    fragment = max((path / OBS / "__fragments").glob("*/a6.tdb"))
    flip(fragment, 0.9)
    left = scim.atlas.verify(path, repair=True)
    assert ("inventory", "ledger/000006.json") in [problem[:2] for problem in left]
    assert not (path / "ledger/000006.json").exists()
    # an earlier inventory has the file
    assert ("store", str(fragment.relative_to(path))) in [problem[:2] for problem in left]


@pytest.mark.parametrize("array", [OBS, COUNTS, EMBEDDING])
def test_a_commit_does_not_record_damaged_files_as_intact(array, path):
    drop_fragment(path, array, marker=True)
    inventories = sorted(path.glob("ledger/*"))
    with scim.atlas.open(path, "w") as atlas, pytest.raises(FormatError, match=r"missing"):
        atlas.append(fakes.cells(20, seed=7), study="three", label_key="cell_type", counts=True)
    assert sorted(path.glob("ledger/*")) == inventories


@pytest.mark.parametrize("kind", ["model: weights", "index: rows", "index: text", "obs: text", "embedding: values"])
def test_searching_a_damaged_atlas_fails_or_gives_the_same(kind, path, original):
    truth, again = fakes.cells(20, seed=9), fakes.cells(20, seed=9)
    scim.tl.embed(truth, original)
    scim.tl.annotate(truth, original, max_error=1)
    flip(max(path.glob(FILES[kind][0])), 0.7)
    try:
        scim.tl.embed(again, path)
        scim.tl.annotate(again, path, max_error=1)
        told = None
    except (FormatError, OSError) as error:
        told = str(error)
    assert told is None or "\n" not in told
    assert told is not None or again.obs["scim_label"].equals(truth.obs["scim_label"])


def test_the_kind_of_an_index_is_kept(original, tmp_path):
    path = shutil.copytree(original, tmp_path / "atlas.scim")
    with scim.atlas.open(path, "w") as atlas:
        atlas.build_index(kind="ivf", recall=0.9)
        truth, folder = atlas.index.query(atlas.embeddings(), 5), path / "index/v000007"
        assert atlas.index.kind == "ivf"
    truncate(max(folder.glob("*.npy"), key=lambda file: file.stat().st_size))
    assert scim.atlas.verify(path, repair=True) == []
    with scim.atlas.open(path) as atlas:
        assert (atlas.index.kind, atlas.index.params["recall"]) == ("ivf", 0.9)
        np.testing.assert_array_equal(atlas.index.query(atlas.embeddings(), 5).ids, truth.ids)
