"""The one place where numba is imported: two decorators for all kernels, and the number of their threads."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

import numba  # noqa: TID251  (this is the one file that may)

from scim._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

F = TypeVar("F", bound="Callable[..., object]")

# `fastmath=True` would let the compiler assume that no NaN or infinity exists, and both are values we promise.
_REASSOCIATE = {"reassoc", "contract", "arcp", "nsz"}
_WORTH = 1 << 20  # multiplications, about 0.1 ms: less work does not repay another thread

prange = numba.prange


def njit(function: F) -> F:
    """Compile a serial kernel, with its machine code cached on disk and the GIL released."""
    compiled: F = numba.njit(function, cache=True, nogil=True, fastmath=_REASSOCIATE)
    return compiled


def njit_parallel(function: F) -> F:
    """Compile a kernel whose `prange` loops run over independent rows; set its threads with :func:`threads`."""
    compiled: F = numba.njit(function, cache=True, nogil=True, parallel=True, fastmath=_REASSOCIATE)
    return compiled


@contextlib.contextmanager
def threads(n: int | None = None, *, work: int | None = None) -> Iterator[None]:
    """Run kernels with `n` threads (default: `scim.settings.n_threads`), fewer for little `work` (multiplications)."""
    before = numba.get_num_threads()
    wanted = settings.n_threads if n is None else n
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set when numba starts
    numba.set_num_threads(max(1, min(wanted, most, most if work is None else work // _WORTH)))
    try:
        yield
    finally:
        numba.set_num_threads(before)
