"""The one place where numba is imported: two decorators for all kernels, and the number of their threads."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba  # noqa: TID251  (this is the one file that may)

from scim._core.fork import usable_threads
from scim._core.kernel_cache import keep_on_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

F = TypeVar("F", bound="Callable[..., object]")

# `fastmath=True` would let the compiler assume that no NaN or infinity exists, and both are values we promise.
_REASSOCIATE = {"reassoc", "contract", "arcp", "nsz"}
_WORTH = 1 << 20  # multiplications, about 0.1 ms: less work does not repay another thread

prange = numba.prange

_threads_lost = False  # whether this process is a fork of one in which kernels had threads
_turn = threading.Lock()


def _after_fork() -> None:
    global _threads_lost, _turn  # noqa: PLW0603  (facts of the process)
    _threads_lost = _threads_lost or _layer() == "omp"  # the other layers start again in a fork
    _turn = threading.Lock()  # a thread of the parent may have had it


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_after_fork)


def njit(function: F) -> F:
    """Compile a serial kernel, with its machine code cached on disk and the GIL released."""
    compiled: F = keep_on_disk(numba.njit(function, nogil=True, fastmath=_REASSOCIATE), function)
    return compiled


def njit_parallel(function: F) -> F:
    """Compile a kernel whose `prange` loops run over independent rows; set its threads with :func:`threads`.

    It cannot be called by other kernels. In a fork of a process that ran such kernels it is compiled without threads:
    OpenMP ends the process otherwise.
    """
    compiled: Any = numba.njit(function, nogil=True, parallel=True, fastmath=_REASSOCIATE)
    keep_on_disk(compiled, function)

    @functools.wraps(function)
    def run(*args: Any) -> Any:
        if _threads_lost:
            return _serial(function)(*args)
        with one_at_a_time():
            return compiled(*args)

    return cast("F", run)


@functools.cache
def _serial(function: Any) -> Any:
    """Compile a parallel kernel as a serial one, which has a cache of its own."""
    copy = FunctionType(function.__code__, function.__globals__, function.__name__)
    copy.__qualname__, copy.__module__ = f"{function.__qualname__}_serial", function.__module__
    return njit(copy)


def one_at_a_time() -> AbstractContextManager[object]:
    """Return what parallel kernels are run within, those of other packages too.

    numba's layer `workqueue`, where there is neither OpenMP nor TBB, ends the process if two threads of Python run
    kernels at once: they wait for each other then. A block must not be entered within another.
    """
    return _turn if _needs_turns() else contextlib.nullcontext()


@functools.cache
def _needs_turns() -> bool:
    numba.get_num_threads()  # starts the layer
    return _layer() == "workqueue"


def _layer() -> str | None:
    """Return what the threads of kernels are made by: omp, tbb or workqueue; `None` = not started."""
    try:
        return str(numba.threading_layer())  # type: ignore[attr-defined]  # set when numba starts
    except ValueError:
        return None


@contextlib.contextmanager
def threads(n: int | None = None, *, work: int | None = None) -> Iterator[None]:
    """Run kernels with `n` threads (default: `scim.settings.n_threads`), fewer for little `work` (multiplications)."""
    wanted = usable_threads(n)
    if _threads_lost:
        yield
        return
    before = numba.get_num_threads()
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set when numba starts
    numba.set_num_threads(max(1, min(wanted, most, most if work is None else work // _WORTH)))
    try:
        yield
    finally:
        numba.set_num_threads(before)
