"""Measure the memory of a process: anonymous pages, and pages of mapped files. Linux."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Self

_PAUSE = 0.02  # seconds between two samples


def resident() -> dict[str, int]:
    """Return the resident bytes, anonymous and of files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"anon": int(lines["RssAnon"].split()[0]) * 1024, "file": int(lines["RssFile"].split()[0]) * 1024}


class Peak:
    """Sample the memory in a thread; `growth` is the largest growth of each kind."""

    def __enter__(self) -> Self:
        self._before, self._stop = resident(), threading.Event()
        self.growth = dict.fromkeys(self._before, 0)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_PAUSE):
            for kind, now in resident().items():
                self.growth[kind] = max(self.growth[kind], now - self._before[kind])
