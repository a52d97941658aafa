"""File maps that are read or written through."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def release_pages(X: NDArray[Any], *, unwritten: bool = False) -> None:
    """Drop the pages of a file map that were touched: they would count as memory of this process; the file has them.

    Parameters
    ----------
    X
        An array; nothing happens if it is no map.
    unwritten
        Whether to drop those of a copy-on-write map too: only if nothing was written into it, as that would be lost.
    """
    array: Any = X
    while isinstance(array, np.ndarray) and not (isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)):
        array = array.base
    kept = ("r", "r+", "w+", "c") if unwritten else ("r", "r+", "w+")
    if array is not None and getattr(array, "mode", "") in kept and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)
