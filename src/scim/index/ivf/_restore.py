"""Check the arrays of a saved inverted file: kernels check no position that they read or write.

Arrays of a size that grows with the number of lists are checked when the index is opened. Those of the rows are too
large: each list is checked when it is first probed (`is_sound` in `ivf/_codes.py`), the offsets when they are first
needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.cosine import are_unit
from scim._core.dot import BLOCK
from scim.index._check import are_starts, are_within
from scim.index.ivf._codes import LARGEST_SCALE, MOST_DIM, padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.types import Ints32
    from scim.index._files import Arrays
    from scim.index.ivf._codes import Coarse, Rows

_CHUNK = 1 << 16  # offsets that are compared at a time, in cache


def check_shapes(arrays: Arrays, coarse: Coarse, rows: Rows) -> None:
    """Refuse arrays that do not fit each other."""
    two_axes: dict[str, NDArray[Any]] = {
        "coarse_parents": coarse.parents,
        "coarse_centroids": coarse.centroids,
        "rows_values": rows.values,
    }
    for name, array in two_axes.items():
        is_right = array.ndim == 2 and array.shape[1] <= MOST_DIM
        arrays.check(name, f"rows of shape {array.shape}", unless=is_right)
    (n, dim), (n_lists, n_groups) = rows.values.shape, (len(coarse.centroids), len(coarse.parents))
    expected = {
        "coarse_parents": (n_groups, dim), "coarse_groups": (n_groups + 1,), "coarse_centroids": (n_lists, dim),
        "coarse_codes": (n_lists, -(-dim // BLOCK) * BLOCK), "coarse_scales": (n_lists,), "coarse_radii": (n_lists,),
        "rows_starts": (n_lists + 1,), "rows_codes": (n, padded(dim) // 2), "rows_scales": (n,), "rows_ranks": (n,),
        "rows_values": (n, dim), "rows_sums": (n_lists,),
    }  # fmt: skip
    found: list[NDArray[Any]] = [*coarse, *rows]
    for (name, shape), array in zip(expected.items(), found, strict=True):
        arrays.check_shape(name, array, *shape)


def check_coarse(arrays: Arrays, coarse: Coarse, rows: Rows) -> None:
    """Refuse parts that do not follow each other, centroids that are no unit rows, and steps and angles of none."""
    n_lists, n = len(coarse.centroids), len(rows.values)
    arrays.check("coarse_groups", "groups that do not follow each other", unless=are_starts(coarse.groups, n_lists))
    arrays.check("rows_starts", "lists that do not follow each other", unless=are_starts(rows.starts, n))
    for name, units in (("coarse_parents", coarse.parents), ("coarse_centroids", coarse.centroids)):
        arrays.check(name, "rows that are not of unit length", unless=are_unit(units))
    arrays.check("coarse_scales", "steps of no unit rows", unless=_is_between(coarse.scales, LARGEST_SCALE))
    arrays.check("coarse_radii", "values that are no angles", unless=_is_between(coarse.radii, np.float32(np.pi)))


def read_offsets(arrays: Arrays, ranks: Ints32) -> Ints32:
    """Return the offset of the row of each rank, compared with the rank at each offset."""
    n, offsets = len(ranks), arrays["places"]
    arrays.check_shape("places", offsets, n)
    arrays.check("places", "positions of rows that do not exist", unless=are_within(offsets, n))
    for start in range(0, n, _CHUNK):
        chunk = offsets[start : start + _CHUNK]
        is_same = ranks[chunk] == np.arange(start, start + len(chunk))
        arrays.check("places", f"other positions than {arrays.names['rows_ranks']!r}", unless=is_same.all())
    return offsets


def _is_between(values: NDArray[np.float32], most: np.float32) -> bool:
    return not values.size or bool(values.min() >= 0 and values.max() <= most)  # NaN is neither
