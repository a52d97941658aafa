"""File maps that are read through."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def let_go(X: NDArray[Any]) -> None:
    """Drop the pages of a read-only file map that were read: they would count as memory of this process."""
    array: Any = X
    while isinstance(array, np.ndarray) and not (isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)):
        array = array.base
    if array is not None and getattr(array, "mode", "") == "r" and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)
