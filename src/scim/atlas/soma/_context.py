"""TileDB's contexts: one for each process and setting, because each has threads, which a fork does not have."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

import tiledbsoma

from scim._core.fork import usable_threads

if TYPE_CHECKING:
    from scim.atlas.storage import Storage

_BUFFER_BYTES = 128 * 2**20  # memory that TileDB takes for one column of one read; its own default is 1 GiB

_contexts: dict[tuple[object, ...], Any] = {}


def context(storage: Storage) -> Any:
    """Return TileDB's context for a storage; equal settings share one."""
    n_threads = usable_threads()
    config: dict[str, str | float] = {**storage.tiledb_config()}
    key = (os.getpid(), n_threads, *sorted(config.items()))
    if key not in _contexts:
        defaults: dict[str, str | float] = {
            "sm.compute_concurrency_level": str(n_threads),
            "sm.io_concurrency_level": str(n_threads),
            "soma.init_buffer_bytes": _BUFFER_BYTES,
        }
        _contexts[key] = tiledbsoma.SOMATileDBContext(tiledb_config=defaults | config)
    return _contexts[key]


def _after_fork() -> None:
    """Leave the contexts of the parent alone for ever: to delete one is to wait for its threads.

    Python deletes them when a process ends, and so does the C library: in a fork of a process that used TileDB, it ends
    without.
    """
    if not _contexts:
        return
    for parents in _contexts.values():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(parents))
    library = ctypes.CDLL(None)
    if hasattr(library, "on_exit"):  # Linux
        library.on_exit(ctypes.cast(library._exit, ctypes.c_void_p), None)


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_after_fork)
