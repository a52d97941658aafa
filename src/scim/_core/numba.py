"""The only place where numba is imported: every kernel of the project is compiled with one of these two decorators."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

import numba  # noqa: TID251  (this is the one file that may)

from scim._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

F = TypeVar("F", bound="Callable[..., object]")

# `fastmath=True` would let the compiler assume that no NaN or infinity exists, and both are values we promise
# ("missing = inf"); these flags allow what vectorised sums and multiplications need, and no more.
_REASSOCIATE = {"reassoc", "contract", "arcp", "nsz"}

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
def threads(n: int | None = None) -> Iterator[None]:
    """Run the parallel kernels called inside with `n` threads (default: `scim.settings.n_threads`)."""
    before = numba.get_num_threads()
    wanted = settings.n_threads if n is None else n
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set when numba starts
    numba.set_num_threads(max(1, min(wanted, most)))
    try:
        yield
    finally:
        numba.set_num_threads(before)
