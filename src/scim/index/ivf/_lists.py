"""What an inverted file consists of: rows coded list by list, and centroids coded group by group."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Coarse(NamedTuple):
    """The centroids, in groups around parents, and their codes."""

    parents: NDArray[np.float32]
    """(n_groups, dim)."""
    groups: NDArray[np.int64]
    """(n_groups + 1,): number of the first list of each group."""
    centroids: NDArray[np.float32]
    """(n_lists, dim)."""
    codes: NDArray[np.uint8]
    """(n_lists, width): upper bytes of the residual from the parent."""
    scales: NDArray[np.float32]
    """(n_lists,)."""
    radii: NDArray[np.float32]
    """(n_lists,): angle in radians between a centroid and the rows of its list, of the mean of their cosines."""


class Rows(NamedTuple):
    """The rows, list by list, ascending in rank within a list."""

    starts: NDArray[np.int64]
    """(n_lists + 1,): place of the first row of each list."""
    codes: NDArray[np.uint8]
    """(n_rows, width): upper half bytes of the values."""
    scales: NDArray[np.float32]
    """(n_rows,): step of the values; 0 for a row that is its centroid."""
    ranks: NDArray[np.int32]
    """(n_rows,): rank of the row at each place."""
    values: NDArray[np.uint16]
    """(n_rows, dim): the residuals, read for candidates only."""
    sums: NDArray[np.uint64]
    """(n_lists,): checksum of the rows of each list, in all of these arrays."""


class Checks(NamedTuple):
    """What the rows are checked by when they are first read."""

    codes: NDArray[np.uint32]
    """(n_rows, width / 4): `Rows.codes` as words."""
    scales: NDArray[np.uint32]
    """(n_rows,): `Rows.scales` as words."""
    done: NDArray[np.bool_]
    """(n_lists,): lists whose checksum was compared."""


class Some(NamedTuple):
    """The rows that pass a filter: all if `starts` is empty; by `mask` if that is not empty; else `places`."""

    starts: NDArray[np.int64]
    """(n_lists + 1,): how many passing rows lie before each list."""
    places: NDArray[np.int32]
    """(n_passing,): ascending; empty if most rows pass."""
    mask: NDArray[np.bool_]
    """(n_rows,): whether the row at each place passes; empty if few do."""

    @property
    def n(self) -> int:
        """Number of passing rows."""
        return int(self.starts[-1])


ALL = Some(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.bool_))
_FEW = 1 / 16
"""Share of the rows up to which places take no more room and are faster than a mask."""


def some_of(passing: NDArray[np.bool_] | NDArray[np.integer], starts: NDArray[np.int64]) -> Some:
    """Lay out the rows that pass, given as a mask over places or as ascending places."""
    n_rows = int(starts[-1])
    places: NDArray[np.int32]
    if passing.dtype != np.bool_:
        places = passing.astype(np.int32)
    elif np.count_nonzero(passing) <= _FEW * n_rows:
        places = np.flatnonzero(passing).astype(np.int32)
    else:
        filled = starts[:-1] < starts[1:]  # reduceat knows no empty lists
        counts = np.zeros(len(filled), dtype=np.int64)
        counts[filled] = np.add.reduceat(passing, starts[:-1][filled], dtype=np.int64)
        return Some(np.concatenate([[0], np.cumsum(counts)]), ALL.places, passing.astype(np.bool_, copy=False))
    return Some(np.searchsorted(places, starts), places, ALL.mask)
