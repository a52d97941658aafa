"""Measure the seconds of a call by function, and the memory of a process. Linux."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAUSE = 0.02  # seconds between two samples


class Parts:
    """Seconds spent in some functions; the time of a nested call counts for the inner function only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner: list[float] = []

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Time a function of a module, or a method of a class, from now on."""
        wrapped = getattr(owner, name)

        @functools.wraps(wrapped)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.timed(part):
                return wrapped(*args, **kwargs)

        setattr(owner, name, timed)

    @contextlib.contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Time a block."""
        began = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            taken = time.perf_counter() - began
            self.seconds[part] = self.seconds.get(part, 0.0) + taken - self._inner.pop()
            if self._inner:
                self._inner[-1] += taken


def run_child(script: str, *arguments: str) -> dict[str, Any]:
    """Run a script in a process; return the JSON of its last line, with its peak memory in bytes.

    `resident` includes mapped files, `anonymous` does not.
    """
    child = subprocess.Popen([sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True)
    peak = {"resident": 0, "anonymous": 0}
    while child.poll() is None:
        for kind, held in _held(child.pid).items():
            peak[kind] = max(peak[kind], held)
        time.sleep(_PAUSE)
    output = child.stdout.read().splitlines() if child.stdout else []
    if child.returncode:
        msg = f"{script} {' '.join(arguments)} ended with {child.returncode}"
        raise RuntimeError(msg)
    result: dict[str, Any] = json.loads(output[-1])
    return result | peak


def _held(pid: int) -> dict[str, int]:
    with contextlib.suppress(OSError, ValueError, KeyError):
        text = Path(f"/proc/{pid}/status").read_text()
        lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        anonymous = int(lines["RssAnon"].split()[0]) + int(lines["RssShmem"].split()[0])
        return {"resident": int(lines["VmHWM"].split()[0]) * 1024, "anonymous": anonymous * 1024}
    return {}


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
