"""A writer that lost its lock, as after the machine was suspended, and its successor do not harm each other."""

from __future__ import annotations

import json
import os

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes
from scim._core import FormatError, LockedError
from scim.atlas.commit import Transaction, read_journal
from scim.atlas.commit._transaction import UNREADABLE
from scim.atlas.soma import Writer
from scim.atlas.storage import Storage


@pytest.fixture
def asleep(writable):
    """A writer that lost its lease, as after a minute without a heartbeat."""
    writable.append(fakes.cells(20, seed=1), study="before")
    transaction = Transaction(Storage.of(writable.path), "append of the sleeper", timeout=0)
    transaction.__enter__()
    for lease in (writable.path / "lock").iterdir():
        lease.unlink()
    return transaction


def wake(asleep):
    with pytest.raises(LockedError, match="was taken over"):
        asleep.tick()
    with pytest.raises(LockedError, match="was taken over"):
        asleep.commit()
    asleep.__exit__(LockedError, LockedError("taken over"), None)


def test_a_writer_without_the_lock_rolls_back_no_other_writer(writable, asleep, monkeypatch):
    from scim.atlas import _append

    def add_names(*arguments):
        wake(asleep)
        return original(*arguments)

    original = _append.add_names
    monkeypatch.setattr(_append, "add_names", add_names)
    assert writable.append(fakes.cells(30, seed=2), study="b", obs_columns=["n"], counts=True) == 30
    assert writable.obs()["study"].tolist() == ["before"] * 20 + ["b"] * 30
    assert scim.atlas.verify(writable.path) == []


def test_writes_without_the_lock_are_not_committed(writable, asleep, monkeypatch):
    from scim.atlas import _append

    before = writable.obs()

    def add_names(*arguments):
        monkeypatch.setattr(asleep._lock, "check", lambda: None)  # it was suspended between the check and the write
        rows = np.tile(np.eye(1, 16, dtype=np.float32), (5, 1))
        Writer(asleep).block(np.arange(20, 25), embedding=("X_scim", rows))
        return original(*arguments)

    original = _append.add_names
    with monkeypatch.context() as patch:
        patch.setattr(_append, "add_names", add_names)
        with pytest.raises(FormatError, match="was written by another process during this change"):
            writable.append(fakes.cells(30, seed=2), study="b")
    pd.testing.assert_frame_equal(writable.obs(), before)
    assert writable.append(fakes.cells(30, seed=2), study="b") == 30
    assert scim.atlas.verify(writable.path) == []
    cells = fakes.cells(30, seed=2)
    scim.tl.embed(cells, writable)
    np.testing.assert_allclose(writable.embeddings()[20:], cells.obsm["X_scim"], atol=1e-6)


@pytest.fixture
def ticks(monkeypatch):
    """The SOMA times that transactions gave, in order."""
    times, tick = [], Transaction.tick

    def recorded(transaction):
        times.append(tick(transaction))
        return times[-1]

    monkeypatch.setattr(Transaction, "tick", recorded)
    return times


def write_late(asleep, monkeypatch, at):
    """Write rows into the embedding at a SOMA time, without the lock, as a process suspended before the write."""
    monkeypatch.setattr(asleep._lock, "check", lambda: None)
    monkeypatch.setattr(asleep, "tick", lambda: at)
    monkeypatch.setattr(asleep, "wrote", lambda *_, **__: None, raising=False)
    rows = np.tile(np.eye(1, 16, dtype=np.float32), (5, 1))
    Writer(asleep).block(np.arange(20, 25), embedding=("X_scim", rows))


@pytest.mark.parametrize("which", [-1, -2, 0])
def test_a_file_of_the_same_millisecond_is_not_committed(writable, asleep, ticks, monkeypatch, which):
    from scim.atlas import _append

    before, original = writable.obs(), _append.add_names

    def add_names(*arguments):
        write_late(asleep, monkeypatch, ticks[which])
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(_append, "add_names", add_names)
        with pytest.raises(FormatError, match="was written by another process during this change"):
            writable.append(fakes.cells(30, seed=2), study="b")
    pd.testing.assert_frame_equal(writable.obs(), before)
    assert writable.append(fakes.cells(30, seed=2), study="b") == 30
    assert scim.atlas.verify(writable.path) == []


def test_a_second_write_of_the_same_time_is_refused_at_once(writable, asleep, monkeypatch):
    original = Transaction.wrote

    def wrote(transaction, folder, since, n=1):
        if transaction is not asleep and folder.endswith("X_scim/__commits"):
            write_late(asleep, monkeypatch, since)
        original(transaction, folder, since, n)

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "wrote", wrote)
        with pytest.raises(FormatError, match="was written by another process during this change"):
            writable.append(fakes.cells(30, seed=2), study="b")
    assert scim.atlas.verify(writable.path) == []


def test_a_resumed_append_keeps_its_rows_and_no_others(writable, asleep, ticks, tmp_path, monkeypatch):
    monkeypatch.setattr("scim.atlas._append._BLOCK_ROWS", 1024)
    fakes.cells(3000, seed=4).write_h5ad(tmp_path / "a.h5ad")

    def stop(transaction, n_done):
        reached(transaction, n_done)
        if n_done > 1024:
            raise KeyboardInterrupt

    reached = Transaction.reached
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "reached", stop)
        with pytest.raises(KeyboardInterrupt):
            writable.append(tmp_path / "a.h5ad", study="a")
    write_late(asleep, monkeypatch, ticks[-2] + 1)  # between the two blocks in the journal
    assert writable.append(tmp_path / "a.h5ad", study="a") == 3000
    assert scim.atlas.verify(writable.path) == []
    cells = fakes.cells(3000, seed=4)
    scim.tl.embed(cells, writable)
    np.testing.assert_allclose(writable.embeddings()[20:], cells.obsm["X_scim"], atol=1e-6)


def test_a_journal_without_file_names_is_resumed_by_time(writable, tmp_path, monkeypatch):
    monkeypatch.setattr("scim.atlas._append._BLOCK_ROWS", 1024)
    fakes.cells(3000, seed=4).write_h5ad(tmp_path / "a.h5ad")

    def stop(transaction, n_done):
        reached(transaction, n_done)
        raise KeyboardInterrupt

    reached = Transaction.reached
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "reached", stop)
        with pytest.raises(KeyboardInterrupt):
            writable.append(tmp_path / "a.h5ad", study="a")
    journal = json.loads((writable.path / "journal.json").read_text())
    del journal["files"], journal["sha256"]
    (writable.path / "journal.json").write_text(json.dumps(journal))
    written = []
    original = Writer.block
    monkeypatch.setattr(
        Writer, "block", lambda self, ids, **parts: (written.append(ids[0]), original(self, ids, **parts))
    )
    assert writable.append(tmp_path / "a.h5ad", study="a") == 3000
    assert written == [1024, 2048]
    assert scim.atlas.verify(writable.path) == []


def test_a_writer_with_an_unreadable_journal_is_detected(writable):
    writable.append(fakes.cells(20, seed=1), study="a")
    storage = Storage.of(writable.path)
    storage.write("commits/000003.json", storage.read("atlas.json"))  # it was killed before it replaced atlas.json
    storage.write("journal.json", b"{")
    assert writable.append(fakes.cells(9, seed=2), study="b") == 9
    assert writable.version == 3
    assert scim.atlas.verify(writable.path) == []


@pytest.mark.parametrize(
    "edit",
    [
        {"n_done": 2},
        {"n_done": 10**30, "sha256": None},
        {"n_done": "1", "sha256": None},
        {"timestamp": -1, "sha256": None},
        {"files": [1], "sha256": None},
        {"more": 1, "sha256": None},
    ],
)
def test_a_journal_that_was_changed_is_rolled_back(writable, edit):
    storage, number = Storage.of(writable.path), writable.version
    with Transaction(storage, "append", timeout=0, token="t") as transaction:
        transaction.reached(0)
        content = json.loads(storage.read("journal.json"))
    kept = {key: value for key, value in {**content, **edit}.items() if value is not None}
    storage.write("journal.json", json.dumps(kept).encode())
    assert read_journal(storage).base == UNREADABLE
    with Transaction(storage, "append", timeout=0, token="t") as transaction:
        assert (transaction.n_done, transaction.manifest.number) == (0, number)


def test_a_journal_that_is_a_folder_or_a_pipe_is_named(writable):
    journal = writable.path / "journal.json"
    for make, remove in ((os.mkdir, os.rmdir), (os.mkfifo, os.remove)):
        make(journal)
        with pytest.raises(FormatError, match=r"journal\.json' is a (folder|pipe)"):
            writable.remove("study == 'x'")
        remove(journal)
