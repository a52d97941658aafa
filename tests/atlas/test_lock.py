from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time

import msgspec
import pytest
from msgspec.structs import replace

from helpers import writers
from scim._core import LockedError, StorageError
from scim.atlas.storage import Lock, Storage
from scim.atlas.storage._lock import Lease, _process

ENDS = 60  # seconds until a process must have ended; usually three
OTHER = {"machine": "another", "owner": "anna", "host": "node7"}


@pytest.fixture(params=["local", "s3"])
def storage(request, tmp_path):
    if request.param == "local":
        return Storage.of(tmp_path / "a.scim")
    return Storage.of(request.getfixturevalue("s3").uri())


@pytest.fixture(autouse=True)
def _short_looks(monkeypatch):
    monkeypatch.setattr("scim.atlas.storage._lock.MIN_TIMEOUT", 0.05)


def leases(storage):
    return [json.loads(storage.read(file.name)) for file in storage.files("lock")]


def put_lease(storage, *, name="0", **changes):
    """Put the lease of another machine, or one that differs in `changes`."""
    fields = {**msgspec.structs.asdict(Lease.of_this_process("append study 'b'")), **OTHER, **changes}
    storage.write(f"lock/{name}.json", json.dumps(fields).encode())
    return fields


def test_a_lease_names_its_owner_and_is_released(storage):
    with Lock(storage, "append study 'a'") as lock:
        lock.check()
        (mine,) = leases(storage)
        assert (mine["pid"], mine["what"]) == (os.getpid(), "append study 'a'")
    assert leases(storage) == []
    with Lock(storage, "again"):
        pass


def test_the_lock_is_released_after_an_error(storage):
    with pytest.raises(KeyError, match="mine"), Lock(storage, "append"):
        {}["mine"]
    assert leases(storage) == []


def test_a_running_owner_is_named(storage):
    fields = put_lease(storage)
    with pytest.raises(
        LockedError, match=r"is being written: anna on node7 \(process \d+\): append study 'b', since 20.*"
    ):
        Lock(storage, "append").__enter__()
    assert leases(storage) == [fields]


def test_a_waiting_writer_gets_the_lock_when_it_is_free(storage):
    put_lease(storage)
    timer = threading.Timer(0.3, storage.delete, [["lock/0.json"]])
    timer.start()
    with Lock(storage, "append", timeout=30):
        assert [mine["what"] for mine in leases(storage)] == ["append"]
    timer.join()


@pytest.mark.parametrize("name", ["0", "g"])  # names of leases are hexadecimal: sorted before and after all of them
def test_the_error_of_a_writer_that_waited_names_the_seconds(tmp_path, name):
    storage = Storage.of(tmp_path)
    put_lease(storage, name=name)
    with pytest.raises(LockedError, match=r"Waited 0\.6 s\. Try again"):
        Lock(storage, "append", timeout=0.6).__enter__()
    assert len(leases(storage)) == 1


def test_a_lease_without_a_heartbeat_is_taken_over(tmp_path):
    storage = Storage.of(tmp_path)
    put_lease(storage)
    old = time.time() - 61
    os.utime(tmp_path / "lock" / "0.json", (old, old))
    with Lock(storage, "append"):
        assert [mine["what"] for mine in leases(storage)] == ["append"]


def test_a_lease_without_a_heartbeat_is_taken_over_on_s3(s3, monkeypatch):
    storage = Storage.of(s3.uri())
    put_lease(storage)
    monkeypatch.setattr("scim.atlas.storage._lock.LEASE_TIMEOUT", 0.5)  # the time of a file on S3 cannot be set
    with Lock(storage, "append", timeout=30):
        assert [mine["what"] for mine in leases(storage)] == ["append"]


def test_a_lease_of_another_version_counts_until_its_timeout(tmp_path):
    storage = Storage.of(tmp_path)
    storage.write("lock/0.json", b'{"version": 2}')
    with pytest.raises(LockedError, match=r"by an unknown version of scim \(lock/0\.json\)"):
        Lock(storage, "append").__enter__()
    old = time.time() - 61
    os.utime(tmp_path / "lock" / "0.json", (old, old))
    with Lock(storage, "append"):
        pass


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"\xff\xfe",
        b"",
        b"null",
        {"pid": "12"},
        {"pid": 10**30},
        {"pid": -1},
        {"pid": 0},
        {"pid": True},
        {"started": -1},
        {"started": None},
        {"since": 3},
        {"more": 1},
    ],
    ids=lambda content: str(content)[:20],
)
def test_an_unreadable_lease_counts_until_its_timeout(tmp_path, content):
    storage = Storage.of(tmp_path)
    put_lease(storage, **(content if isinstance(content, dict) else {}))
    if isinstance(content, bytes):
        storage.write("lock/0.json", content)
    with pytest.raises(LockedError, match=r"by an unknown version of scim \(lock/0\.json\)"):
        Lock(storage, "append").__enter__()
    old = time.time() - 61
    os.utime(tmp_path / "lock" / "0.json", (old, old))
    with Lock(storage, "append"):
        pass


def test_a_lease_of_the_future_has_one_timeout(tmp_path):
    storage = Storage.of(tmp_path)
    put_lease(storage)
    os.utime(tmp_path / "lock" / "0.json", (time.time() + 1e6, time.time() + 1e6))  # the clock was set back since
    with pytest.raises(LockedError, match="is being written"):
        Lock(storage, "append").__enter__()
    assert (tmp_path / "lock" / "0.json").stat().st_mtime < time.time() + 5


def test_a_heartbeat_does_not_follow_a_link(tmp_path):
    (tmp_path / "thesis").write_bytes(b"mine")
    os.utime(tmp_path / "thesis", (0, 0))
    with Lock(Storage.of(tmp_path / "a.scim"), "append") as lock:
        (lease,) = (tmp_path / "a.scim" / "lock").iterdir()
        lease.unlink()
        lease.symlink_to(tmp_path / "thesis")
        with pytest.raises(LockedError, match="was taken over"):
            lock.check()
        lease.unlink()
    assert (tmp_path / "thesis").stat().st_mtime == 0


def test_the_lease_of_a_process_that_ended_is_removed(tmp_path):
    storage = Storage.of(tmp_path)
    here = Lease.of_this_process("").machine
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait(ENDS)
    put_lease(storage, machine=here, pid=done.pid)
    with Lock(storage, "append"):
        assert [mine["what"] for mine in leases(storage)] == ["append"]


def test_the_lease_of_a_reused_process_id_is_removed(tmp_path):
    storage = Storage.of(tmp_path)
    put_lease(storage, machine=Lease.of_this_process("").machine, started=_process(os.getpid())[1] - 100)
    with pytest.raises(LockedError):  # the clock may have been set: a fresh heartbeat counts
        Lock(storage, "append").__enter__()
    old = time.time() - 30
    os.utime(tmp_path / "lock" / "0.json", (old, old))
    with Lock(storage, "append"):
        pass


def test_a_process_of_another_user_may_be_running(monkeypatch):
    mine = Lease.of_this_process("")

    def denied(pid, signal):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", denied)
    assert not mine.has_ended(59)


def test_a_zombie_has_ended():
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    process.stdout.read()  # the process closes its output at its end, and is a zombie until `wait`
    lease = replace(Lease.of_this_process(""), pid=process.pid, started=_process(process.pid)[1])
    end = time.monotonic() + ENDS
    while not lease.has_ended(0) and time.monotonic() < end:
        time.sleep(0.02)
    assert lease.has_ended(0)
    process.communicate()


def test_the_start_of_a_process_is_that_of_the_system():
    psutil = pytest.importorskip("psutil")
    assert _process(os.getpid())[1] == pytest.approx(psutil.Process().create_time(), abs=1)


def test_without_proc_a_running_process_holds_its_lease(monkeypatch):
    monkeypatch.setattr("scim.atlas.storage._lock._process", lambda pid: ("", 0.0))
    lease = Lease.of_this_process("")
    assert lease.started == 0
    assert not lease.has_ended(59)
    assert not replace(lease, started=1e9).has_ended(59)
    assert replace(lease, pid=2**31 - 1).has_ended(0)
    monkeypatch.setattr("os.name", "nt")  # a signal would end the process on that system: only heartbeats count
    assert not replace(lease, pid=2**31 - 1).has_ended(0)


def test_a_user_without_a_name_has_a_number(monkeypatch):
    def none():
        msg = "getpwuid(): uid not found: 4711"
        raise KeyError(msg)

    monkeypatch.setattr("getpass.getuser", none)
    assert Lease.of_this_process("").owner == str(os.getuid())


def test_a_lost_lease_is_noticed_and_not_written_again(storage, monkeypatch):
    monkeypatch.setattr("scim.atlas.storage._lock.HEARTBEAT", 0.5)
    with Lock(storage, "append") as lock:
        lock.check()
        sent, end = lock._last_heartbeat, time.monotonic() + ENDS
        while lock._last_heartbeat == sent and time.monotonic() < end:
            time.sleep(0.02)  # right after a heartbeat none is on its way, which would write the file once more
        storage.delete([file.name for file in storage.files("lock")])
        with pytest.raises(LockedError, match="was taken over: another writer removed our lease"):
            lock.check()
        lock._thread.join(ENDS)
        assert not lock._thread.is_alive()
        assert leases(storage) == []


def test_heartbeats_are_sent(tmp_path, monkeypatch):
    monkeypatch.setattr("scim.atlas.storage._lock.HEARTBEAT", 0.05)
    storage = Storage.of(tmp_path)
    with Lock(storage, "append"):
        (path,) = (tmp_path / "lock").iterdir()
        os.utime(path, (0, 0))
        end = time.monotonic() + ENDS
        while path.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.02)
        assert path.stat().st_mtime > 0


def test_a_suspended_writer_sends_no_heartbeat_on_s3(s3, monkeypatch):
    storage = Storage.of(s3.uri())
    with Lock(storage, "append") as lock:
        lock._last_heartbeat -= 41
        with pytest.raises(LockedError, match="no heartbeat could be sent for 41 s"):
            lock.check()


def test_a_stopped_server_has_its_own_error(s3_server, monkeypatch, caplog):
    monkeypatch.setattr("scim.atlas.storage._s3.TRIES", 1)  # the pauses between tries are most of the time
    storage = Storage.of(s3_server.uri())
    with Lock(storage, "append") as lock:
        s3_server.stop()
        with pytest.raises(StorageError, match="Could not look for"):
            lock.check()
    assert "could not be given back" in caplog.text
    with pytest.raises(StorageError, match="Could not write"):
        Lock(storage, "append").__enter__()


def test_a_storage_that_lists_late_cannot_be_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(Storage, "files", lambda self, folder: [])
    with pytest.raises(StorageError, match="does not list what was just written"):
        Lock(Storage.of(tmp_path), "append").__enter__()


def test_a_lock_is_not_held_twice(tmp_path):
    with Lock(Storage.of(tmp_path), "append") as lock, pytest.raises(RuntimeError, match="held already"):
        lock.__enter__()


def test_a_machine_that_is_not_linux_has_a_name(monkeypatch):
    def none(path, **how):
        raise FileNotFoundError(path)

    monkeypatch.setattr("scim.atlas.storage._lock.read_text", none)
    assert platform.node() in Lease.of_this_process("").machine


@pytest.mark.slow
def test_a_killed_owner_is_taken_over_at_once(storage):
    owner = writers.start("hold", storage.uri)
    try:
        assert owner.stdout.readline() == "held\n"  # "" if it failed
        with pytest.raises(LockedError, match=rf"process {owner.pid}\): append study 'a'"):
            Lock(storage, "append").__enter__()
        owner.send_signal(signal.SIGKILL)
        owner.wait(ENDS)
        assert len(leases(storage)) == 1
        with Lock(storage, "append", timeout=5):
            assert [mine["what"] for mine in leases(storage)] == ["append"]
    finally:
        owner.kill()
        owner.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "n_writers", "rounds"), [("local", 4, 20), ("s3", 3, 4)])
def test_no_writer_is_overtaken(kind, n_writers, rounds, request, tmp_path):
    uri = tmp_path / "a.scim" if kind == "local" else request.getfixturevalue("s3").uri()
    storage = Storage.of(uri)
    storage.write("number", b"0")
    started = [writers.start("count", storage.uri, str(rounds)) for _ in range(n_writers)]
    try:
        assert [writer.wait(2 * ENDS) for writer in started] == [0] * n_writers
    finally:
        for writer in started:
            writer.kill()
            writer.communicate()
    assert int(storage.read("number")) == n_writers * rounds
    assert leases(storage) == []
