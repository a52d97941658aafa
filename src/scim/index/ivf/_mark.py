"""From a mask over places to one over ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scim._core.numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit
def mark(mask: NDArray[Any], ranks: NDArray[Any], passes: NDArray[Any]) -> None:
    """Say of each rank whether the row at its place passes."""
    # Without a branch: half of a million rows take 0.8 ms, and 3.4 ms with one that nobody can foresee.
    for place in range(mask.shape[0]):
        passes[ranks[place]] = mask[place]
