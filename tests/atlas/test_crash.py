"""A killed writer loses no cell and leaves none incomplete; the same call then gives the uninterrupted result.

Writers are killed at each step that changes the state on disk. benchmarks/atlas/crash.py kills at random moments.
"""

from __future__ import annotations

import pytest

import scim
from helpers import changes, crashes
from scim.atlas.commit import read_manifest
from scim.atlas.storage import Storage

pytestmark = pytest.mark.slow

_BLOCK = "scim.atlas.soma:Writer.block"
_WRITE = "scim.atlas.storage:Storage.write"
_DELETE = "scim.atlas.storage:Storage.delete"
_LEDGER = "scim.atlas.commit._transaction:write_inventory"

MOMENTS = [
    ("remove", {"where": _WRITE, "first": "journal.json"}),
    ("remove", {"where": _WRITE, "first": "journal.json", "when": "after"}),
    ("remove", {"where": "tiledbsoma:SparseNDArray.delete_cells"}),  # gone from obs, their counts are not
    ("remove", {"where": _WRITE, "first": "removed/", "when": "after"}),
    ("remove", {"where": _LEDGER}),
    ("remove", {"where": _LEDGER, "when": "after"}),
    ("remove", {"where": _WRITE, "first": "commits/", "when": "after"}),
    ("remove", {"where": _WRITE, "first": "atlas.json", "when": "after"}),
    ("append_files", {"where": "pathlib:Path.rename"}),  # of a new schema
    ("append_files", {"where": _BLOCK}),
    ("append_files", {"where": "tiledbsoma:SparseNDArray.write", "call": 2}),  # obs is written, its counts are not
    ("append_files", {"where": _WRITE, "first": "samples/"}),
    ("append_files", {"where": _WRITE, "first": "samples/", "when": "after"}),
    ("append_files", {"where": _WRITE, "first": "samples/", "call": 2, "when": "after"}),
    ("append_memory", {"where": _WRITE, "first": "expression/", "when": "after"}),
    ("append_memory", {"where": "scim.atlas._index:build_part", "when": "after"}),
    ("append_memory", {"where": _WRITE, "first": "names/", "when": "after"}),
    ("build_index", {"where": "scim.atlas._index:build_part", "when": "after"}),
    ("build_index", {"where": _WRITE, "first": "expression/", "when": "after"}),
    ("compact_without_samples", {"where": _WRITE, "first": "commits/", "when": "after"}),
    ("reembed", {"where": "scim.atlas.soma:Writer.add_embedding", "when": "after"}),
    ("reembed", {"where": _BLOCK, "call": 3}),
    ("reembed", {"where": _WRITE, "first": "atlas.json", "when": "after"}),  # a draft, not published
    ("publish", {"where": "scim.atlas.soma:Writer.drop_embedding", "when": "after"}),
    ("compact", {"where": _BLOCK, "call": 5, "when": "after"}),
    ("vacuum", {"where": _DELETE, "call": 3}),
    ("vacuum", {"where": "scim.atlas.storage:Storage.delete_folder", "call": 2}),
]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """Writers are forks, which work on one thread; with two the embedding differs in its last bits."""
    monkeypatch.setattr(scim.settings, "n_threads", 1)


@pytest.fixture(scope="module")
def reference(workers, inputs, tmp_path_factory):
    known = {}

    def of(change):
        if change not in known:
            room = tmp_path_factory.mktemp(change)
            known[change] = crashes.measure(workers, change, inputs / "base.scim", inputs, room)
        return known[change]

    return of


def _killed(workers, reference, room, *kills):
    path = changes.copy_atlas(reference.base, room)
    result = workers.run(change=reference.change, uri=str(path), inputs=str(reference.inputs), kills=kills)
    assert result["status"] == -9, f"it was not killed: {result}"
    return path


@pytest.mark.parametrize(("change", "moment"), MOMENTS, ids=lambda given: given if isinstance(given, str) else None)
def test_a_killed_writer_changes_no_committed_data(workers, reference, tmp_path, change, moment):
    killed = _killed(workers, reference(change), tmp_path, moment)
    crashes.check_killed(killed, reference(change))
    crashes.check_again(None, killed, reference(change))


def test_interrupted_files_resume(workers, reference, tmp_path):
    append = reference("append_files")
    killed = _killed(workers, append, tmp_path, {"where": _BLOCK, "call": 3})
    # Two of four blocks are written: a resumed writer writes two, and is not killed at a third.
    crashes.check_again(workers, killed, append, kills=[{"where": _BLOCK, "call": 3}])
    assert read_manifest(Storage.of(killed)).number == append.number + 1


def test_a_rollback_may_be_killed(workers, reference, tmp_path):
    append = reference("append_memory")
    killed = _killed(workers, append, tmp_path, {"where": _BLOCK, "call": 2, "when": "after"})
    for call in (2, 9):
        again = {"where": "pathlib:Path.unlink", "call": call, "when": "after"}
        result = workers.run(change=append.change, uri=str(killed), inputs=str(append.inputs), kills=[again])
        assert result["status"] == -9, result
        crashes.check_killed(killed, append)
    crashes.check_again(None, killed, append)


def test_another_change_removes_the_files_of_a_killed_one(workers, reference, tmp_path):
    append, remove = reference("append_files"), reference("remove")
    killed = _killed(workers, append, tmp_path, {"where": _BLOCK, "call": 2, "when": "after"})
    crashes.check_again(None, killed, remove)


def test_a_refused_change_leaves_the_atlas_unchanged(workers, reference, tmp_path):
    append = reference("append_memory")
    path = changes.copy_atlas(append.base, tmp_path)
    result = workers.run(change="refused", uri=str(path), inputs=str(append.inputs))
    assert "are in the atlas already" in result["error"]["text"]
    assert crashes.check_killed(path, append) == "before"
    crashes.check_clean(path)
