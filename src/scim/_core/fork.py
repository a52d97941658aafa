"""Processes that are forked from one that has used threads.

A fork has none of the threads of its parent, but the pools of OpenMP, torch and TileDB still count on them: work that
is given to such a pool never ends, or ends the process. So scim works on a single thread in a fork, and opens again
what its parent had opened. Processes started by `spawn` or `forkserver` are no forks of one that used threads.
"""

from __future__ import annotations

import functools
import os

from scim._core.checks import check_count
from scim._core.log import logger
from scim._core.settings import settings

_ADVICE = (
    "start workers with multiprocessing.get_context('spawn') or 'forkserver', or with joblib's backend 'loky', "
    "and pass them paths and AnnData"
)

_N_CORES = os.cpu_count() or 1  # asked once: it takes as long as a tenth of a search

_is_fork = False


def _mark() -> None:
    global _is_fork  # noqa: PLW0603  (a fact of the process)
    _is_fork = True
    settings.n_threads = 1


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_mark)


def is_fork() -> bool:
    """Return whether this process was forked from one that had imported scim."""
    return _is_fork


def usable_threads(n: int | None = None) -> int:
    """Return how many threads to use: `n`, or `scim.settings.n_threads`, at most one a core; in a fork one.

    Raise TypeError or ValueError if that is not a whole number above 0.
    """
    name, wanted = ("scim.settings.n_threads", settings.n_threads) if n is None else ("n_threads", n)
    wanted = check_count(name, wanted)
    if _is_fork:
        _log_once()
        return 1
    return min(wanted, _N_CORES)


def refuse_fork(what: str) -> None:
    """Raise RuntimeError, which says how to start workers, for work that a fork cannot do."""
    if _is_fork:
        msg = f"{what} is not possible in a process that was forked from one that used scim: {_ADVICE}."
        raise RuntimeError(msg)


@functools.cache
def _log_once() -> None:
    logger.info("process %d is a fork, in which scim works on one thread; for more, %s", os.getpid(), _ADVICE)
