"""One writer at a time, on any storage that lists a file as soon as it is written."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import platform
import random
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import msgspec

from scim._core import FormatError, LockedError, StorageError, logger
from scim.atlas.storage._layout import LOCKS, is_ours
from scim.io import Record, as_record, inside, parse_json, read_text

if TYPE_CHECKING:
    from types import TracebackType

    from scim.atlas.storage._storage import Storage

HEARTBEAT = 10.0
"""Seconds between two heartbeats."""
LEASE_TIMEOUT = 60.0
"""Seconds without a heartbeat after which other writers remove a lease."""
LOST_AFTER = LEASE_TIMEOUT - 20
"""Seconds after which a heartbeat on S3, a write of up to 17 s, could bring back a lease that was removed."""
MIN_TIMEOUT, FIRST_WAIT, LONGEST_WAIT = 0.5, 0.02, 1.0

_UNDELETED: set[tuple[str, str]] = set()
"""Leases of this process, by address and name, that ended while the storage did not respond."""


_SHOWN = 200  # characters of a text in errors
_MOST_PROC = 1 << 16  # bytes of a file of /proc


class Lease(Record, frozen=True):
    """The owner of a lease file: one that writes, or waits to."""

    owner: str
    host: str
    machine: str
    pid: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    started: Annotated[float, msgspec.Meta(ge=0, le=1e11)]
    what: str
    since: str

    @classmethod
    def of_this_process(cls, what: str) -> Lease:
        pid, since = os.getpid(), datetime.now(UTC).isoformat(timespec="microseconds")
        return cls(_user(), platform.node(), _machine(), pid, _process(pid)[1], what, since)

    @classmethod
    def load(cls, content: bytes) -> Lease | None:
        """Return the lease in a file; `None` if it cannot be read, as one of another version."""
        try:
            return as_record(parse_json(content, LOCKS), cls, LOCKS)
        except FormatError:
            return None

    def has_ended(self, age: float) -> bool:
        """Return whether its process ended, as far as this machine can tell, `age` seconds after its heartbeat."""
        if os.name != "posix" or self.machine != _machine():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # it runs, under another user
            pass
        state, started = _process(self.pid)
        # The id may be another process's by now. Setting the clock moves start times too, so a fresh heartbeat counts.
        reused = age > 2 * HEARTBEAT and min(started, self.started) > 0 and abs(started - self.started) > 1
        return state == "Z" or reused

    def describe(self, age: float) -> str:
        """Return a line for an error."""
        owner = f"{self.owner[:_SHOWN]} on {self.host[:_SHOWN]} (process {self.pid}): {self.what[:_SHOWN]}"
        return f"{owner}, since {self.since[:19]} UTC, last heartbeat {max(age, 0):.0f} s ago"


class Lock:
    """The right to write into an atlas, for the time of a `with` block.

    A writer puts a lease into a folder and then lists the folder: it holds the lock if no other lease is there. Of two
    that list at the same moment each sees the other, so that both never hold it. Of several that wait, the one with the
    first name keeps its lease, the others withdraw theirs. The owner sends heartbeats; a lease without them is removed.
    `what` the owner does, as "append study 'a'", is in the LockedError of writers that waited `timeout` seconds for it.
    """

    def __init__(self, storage: Storage, what: str, timeout: float = 0.0) -> None:
        self.storage, self.what, self.timeout = storage, what, timeout
        self._name = self._lost = ""
        self._content = b""
        self._last_heartbeat = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._thread is not None:
            msg = f"This lock of {self.storage.uri!r} is held already; make another Lock."
            raise RuntimeError(msg)
        self._lost, self._stop = "", threading.Event()
        try:
            self._wait()
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the cause
                self._withdraw()
            raise
        self._thread = threading.Thread(target=self._send_heartbeats, name="scim-lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        lease = (self.storage.uri, self._name)
        try:
            self._withdraw()
        except OSError as problem:
            _UNDELETED.add(lease)
            # What the block did is done or has its own error; the lease ends without heartbeats.
            logger.warning("the lock of %s could not be given back: %s", self.storage.uri, problem)

    def check(self) -> None:
        """Send a heartbeat now, before a commit; LockedError if the lock was, or may have been, taken over."""
        if not self._lost:
            self._heartbeat()
        if self._lost:
            msg = f"The lock of {self.storage.uri!r} was taken over: {self._lost}. Start again from the last commit."
            raise LockedError(msg)

    def _wait(self) -> None:
        # Two that list at the same moment see each other: also one that does not wait lists again before it gives up.
        end, wait = time.monotonic() + max(self.timeout, MIN_TIMEOUT), FIRST_WAIT
        while rivals := self._put_lease():
            left = end - time.monotonic()
            if left <= 0:
                raise LockedError(self._explain(rivals))
            if self._name > min(rivals):
                self._withdraw()
            time.sleep(min(left, wait * random.uniform(0.5, 1)))
            wait = min(2 * wait, LONGEST_WAIT)

    def _put_lease(self) -> dict[str, tuple[Lease | None, float]]:
        """Write our lease, and return the valid leases of other writers with the age of their last heartbeat."""
        self._name = self._name or f"{LOCKS}/{uuid.uuid4().hex}.json"
        self._content = json.dumps(msgspec.structs.asdict(Lease.of_this_process(self.what)), indent=1).encode()
        self._last_heartbeat = _clock()
        self.storage.write(self._name, self._content)
        modified = {file.name: file.modified for file in self.storage.files(LOCKS) if is_ours(file.name)}
        if self._name not in modified:
            msg = f"{self.storage.uri!r} does not list what was just written into it; it cannot be locked."
            raise StorageError(msg)
        now = modified.pop(self._name)  # by the clock of the storage: ours may differ
        rivals = {name: self._valid_lease(name, now - time_of) for name, time_of in modified.items()}
        return {name: rival for name, rival in rivals.items() if rival is not None}

    def _valid_lease(self, name: str, age: float) -> tuple[Lease | None, float] | None:
        """Return another writer's lease; one that has ended is removed."""
        try:
            lease = Lease.load(self.storage.read(name))
        except FileNotFoundError:  # withdrawn meanwhile
            return None
        undeleted = (self.storage.uri, name) in _UNDELETED
        if undeleted or age > LEASE_TIMEOUT or (lease is not None and lease.has_ended(age)):
            logger.info("removed the lease of a writer that has ended: %s", lease.describe(age) if lease else name)
            self.storage.delete([name])
            return None
        if age < -LEASE_TIMEOUT and self.storage.path is not None:
            # The clock was set back since: from now on the lease has a timeout to show a heartbeat.
            with contextlib.suppress(FileNotFoundError):
                os.utime(inside(self.storage.path, name), follow_symlinks=False)
        return lease, age

    def _explain(self, rivals: dict[str, tuple[Lease | None, float]]) -> str:
        # The owner wrote its lease before all that wait.
        known = [(lease, age) for lease, age in rivals.values() if lease is not None]
        first = min(known, key=lambda pair: pair[0].since, default=None)
        owner = first[0].describe(first[1]) if first else f"by an unknown version of scim ({min(rivals)})"
        waited = f" Waited {self.timeout:g} s." if self.timeout else ""
        return f"{self.storage.uri!r} is being written: {owner}.{waited} Try again when that is done."

    def _withdraw(self) -> None:
        if self._name:
            name, self._name = self._name, ""
            self.storage.delete([name])

    def _send_heartbeats(self) -> None:
        while not self._lost and not self._stop.wait(HEARTBEAT):
            try:
                self._heartbeat()
            except OSError as error:
                logger.warning("no heartbeat could be sent to %s: %s", self.storage.uri, error)

    def _heartbeat(self) -> None:
        """Renew the lease, or find it lost; a lease that was removed is never written again."""
        begun, lost = _clock(), "another writer removed our lease"
        if self.storage.path is not None:
            try:
                os.utime(inside(self.storage.path, self._name), follow_symlinks=False)
            except (FileNotFoundError, FormatError):
                self._lost = lost
        elif not self.storage.exists(self._name):
            self._lost = lost
        elif (age := _clock() - self._last_heartbeat) > LOST_AFTER:
            self._lost = f"no heartbeat could be sent for {age:.0f} s"
        else:
            self.storage.write(self._name, self._content)
        self._last_heartbeat = begun


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may run under a number that has no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def _machine() -> str:
    """Return a name within which a process id means one process: containers share a host and even a host name."""
    try:
        boot = read_text("/proc/sys/kernel/random/boot_id", most=_MOST_PROC).strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except (OSError, FormatError):  # not Linux
        boot, namespace = f"{uuid.getnode():x}", platform.system()
    return f"{platform.node()} {boot} {namespace}"


def _process(pid: int) -> tuple[str, float]:
    """Return state and start (seconds since 1970) of a process; an empty text and 0 without `/proc`."""
    try:
        state, *fields = read_text(f"/proc/{pid}/stat", most=_MOST_PROC).rpartition(")")[2].split()
        boot = next(line for line in read_text("/proc/stat", most=_MOST_PROC).splitlines() if line.startswith("btime"))
    except (OSError, FormatError):
        return "", 0.0
    return state, int(boot.split()[1]) + int(fields[18]) / os.sysconf("SC_CLK_TCK")


def _clock() -> float:
    """Return seconds that never run backwards; time asleep counts where the system measures it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
