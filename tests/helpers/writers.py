"""Writers in processes, for the tests of the lock: `python -m helpers.writers hold|count URI ...`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def start(*words: str) -> subprocess.Popen[str]:
    """Start a writer; it reads commands from its standard input and reports on its standard output."""
    return subprocess.Popen(
        [sys.executable, "-m", "helpers.writers", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )


def hold(uri: str) -> None:
    """Take the lock, report it, and keep it until the standard input ends."""
    from scim.atlas.storage import Lock, Storage

    with Lock(Storage.of(uri), "append study 'a'", timeout=30):
        sys.stdout.write("held\n")
        sys.stdout.flush()
        sys.stdin.read()


def count(uri: str, rounds: str) -> None:
    """Increment a number under the lock, repeatedly, reading and writing it without other protection."""
    from scim.atlas.storage import Lock, Storage

    storage = Storage.of(uri)
    for _ in range(int(rounds)):
        with Lock(storage, "count", timeout=60) as lock:
            number = int(storage.read("number"))
            lock.check()
            storage.write("number", str(number + 1).encode())


if __name__ == "__main__":
    {"hold": hold, "count": count}[sys.argv[1]](*sys.argv[2:])
