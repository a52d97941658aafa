"""Settings of the session: `scim.settings`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


def _threads() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity mask
        return os.cpu_count() or 1


@dataclass
class Settings:
    """What every function falls back to when its argument is left out.

    Attributes
    ----------
    atlas
        Path of the atlas that `scim.tl` functions use; `None` is the atlas that comes with the package.
        Starts from the environment variable `SCIM_ATLAS`.
    progress
        Whether long work draws a progress bar on standard error.
        `None` draws one where standard error is a terminal.
    n_threads
        Number of threads of the numerical kernels; starts from the number of usable cores.
    """

    atlas: str | None = field(default_factory=lambda: os.environ.get("SCIM_ATLAS") or None)
    progress: bool | None = None
    n_threads: int = field(default_factory=_threads)


settings = Settings()
