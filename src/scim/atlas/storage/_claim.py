"""What a writer says of itself in the atlas, and whether it still lives."""

from __future__ import annotations

import getpass
import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

BEAT = 10.0
"""Seconds between two signs of life."""
DEAD_AFTER = 60.0
"""Seconds without one after which a claim is nobody's."""


@dataclass(frozen=True)
class Claim:
    """Who wants to write, or does."""

    owner: str
    host: str
    machine: str
    pid: int
    started: float
    what: str
    since: str

    @classmethod
    def mine(cls, what: str) -> Claim:
        """Return the claim of this process."""
        return cls(
            owner=_user(),
            host=platform.node(),
            machine=_machine(),
            pid=os.getpid(),
            started=psutil.Process().create_time(),
            what=what,
            since=datetime.now(UTC).isoformat(timespec="microseconds"),
        )

    def dump(self) -> bytes:
        """Return it as JSON."""
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def load(cls, content: bytes) -> Claim | None:
        """Return the claim in a file; `None` if it cannot be read, as one of another version."""
        try:
            fields = json.loads(content)
            return cls(**{name: kind(fields[name]) for name, kind in _FIELDS.items()})
        except (ValueError, TypeError, KeyError):
            return None

    def is_gone(self, age: float) -> bool:
        """Return whether its process ended, as far as this machine can tell; `age` is that of the last sign of life."""
        if self.machine != _machine():
            return False
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            # The number may be another process's by now. A clock that was set moves start times as well,
            # so that one who gave a sign of life since is believed.
            return age > 2 * BEAT and abs(process.create_time() - self.started) > 1
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:  # it is there, and another user's
            return False

    def describe(self, age: float) -> str:
        """Return a line for an error."""
        who = f"{self.owner} on {self.host} (process {self.pid})"
        return f"{who}: {self.what}, since {self.since[:19]} UTC, last sign of life {max(age, 0):.0f} s ago"


_FIELDS = {"owner": str, "host": str, "machine": str, "pid": int, "started": float, "what": str, "since": str}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may run under a number that has no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def _machine() -> str:
    # Within one of these a process number means one process: containers share a host and even a host name.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux; boot times are read to a second or so
        boot, space = f"{psutil.boot_time() / 100:.0f}", platform.system()
    return f"{platform.node()} {boot} {space}"


def seconds() -> float:
    """Return seconds that never run backwards; also those asleep count where the system tells."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
