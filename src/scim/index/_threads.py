"""How many threads a search is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scim._core.numba import threads
from scim._core.settings import settings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_WORTH = 1 << 20  # multiplications, about 0.1 ms; for less a thread costs more than it brings, most on a busy machine


def threads_for(n_multiplications: int, n_threads: int | None) -> AbstractContextManager[None]:
    """Run the kernels called inside with as many threads as the work is worth, at most `n_threads`."""
    wanted = settings.n_threads if n_threads is None else n_threads
    return threads(max(1, min(wanted, n_multiplications // _WORTH)))
