"""Which inverted lists a query probes, and in which order.

Lists are probed from the nearest centroid on. With `a` the angle to the last of the candidates so far and `p` the
angle to the nearest centroid, a list with centroid at angle `c` and rows `r` around it is probed if

    c <= max(a, p) + probe_factor * min(a, 2.5 * r)

The bound moves with the query: lists that cannot help are left out in dense regions and added where rows are sparse,
whether because of the region, of `k` or of a filter. Only `probe_factor` is measured for a recall. What the terms are
for: rows closer than the centroid itself (`p`: small `k`, duplicates of the query), and rows all far away (`r`: a
filter that leaves only distant lists, of which most are then equally far).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.dot import byte_dot, byte_dots
from scim._core.numba import njit
from scim._core.topk import make_heap, sort_heap
from scim.index.ivf._candidates import bound_for, score_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.index.ivf._candidates import Terms, Workspace
    from scim.index.ivf._codes import Coarse

FAR = 2.5  # radii of a list beyond which its own size, not the distance of the candidates, bounds the search
FRONT = 32  # lists that are sorted at first; then eight times as many, and so on


@njit
def dot(x: NDArray[np.float32], y: NDArray[np.float32]) -> np.float32:
    """Return the dot of two rows."""
    total = np.float32(0)
    for d in range(x.shape[0]):
        total += x[d] * y[d]
    return total


@njit
def angle(value: np.float32) -> np.float32:
    """Return the angle in radians of a negated cosine."""
    return np.float32(np.arccos(min(max(-value, np.float32(-1)), np.float32(1))))


@njit
def score_parents(query: NDArray[np.float32], coarse: Coarse, work: Workspace, task: int) -> None:
    """Write the dots with all parents: no group is visited yet."""
    left = work.left[task]
    for group in range(left.shape[0]):
        left[group] = dot(query, coarse.parents[group])


@njit
def near_lists(
    wanted: int, terms: Terms, coarse: Coarse, passing: NDArray[np.int64], work: Workspace, task: int
) -> int:
    """Write negated cosines and numbers of the lists of the nearest groups not visited yet, until there are `wanted`.

    Return how many. Lists without passing rows are left out, if `passing`, the rows before each list, is not empty.
    """
    code, left, dots = work.code[task], work.left[task], work.dots[task]
    near, lists = work.near[task], work.lists[task]
    n_near = 0
    while n_near < wanted:
        group = np.argmax(left)
        base = left[group]
        if base == -np.inf:
            break
        left[group] = -np.inf
        first, stop = coarse.groups[group], coarse.groups[group + 1]
        n_lists = stop - first
        for j in range(0, n_lists & ~3, 4):
            byte_dots(coarse.codes, first + j, code, dots, j)
        for j in range(n_lists & ~3, n_lists):
            byte_dot(coarse.codes, first + j, code, dots, j)
        for j in range(n_lists):
            near[n_near] = score_row(dots[j], coarse.scales[first + j], base, terms)
            lists[n_near] = first + j
            n_near += passing.shape[0] == 0 or passing[first + j + 1] > passing[first + j]
    return n_near


@njit
def next_front(n_near: int, above: np.float32, n_wanted: int, work: Workspace, task: int) -> tuple[int, np.float32]:
    """Write about `n_wanted` of the nearest lists beyond `above`, nearest first; return how many, and the last."""
    near, lists = work.near[task, :n_near], work.lists[task]
    front, front_lists = work.front[task], work.front_lists[task]
    n_left = 0
    for i in range(n_near):
        n_left += near[i] > above
    bound = np.float32(np.inf)
    if n_left > n_wanted:
        _, bound = bound_for(near, above, n_wanted)
    n_front = 0
    for i in range(n_near):
        if above < near[i] and near[i] <= bound:
            front[n_front], front_lists[n_front] = near[i], lists[i]
            n_front += 1
    make_heap(front[:n_front], front_lists[:n_front])
    sort_heap(front[:n_front], front_lists[:n_front])
    return n_front, bound


@njit
def is_probed(
    centre: np.float32, radius: np.float32, last: np.float32, nearest: np.float32, probe_factor: np.float32
) -> bool:
    """Return whether a list is probed, by the rule above."""
    return bool(centre <= max(last, nearest) + probe_factor * min(last, np.float32(FAR) * radius))


@njit
def decayed(probe_factor: np.float32 | float, times: float, filter_decay: np.float32 | float) -> np.float32:
    """Return the probe factor that finds as large a share of `times` as many rows.

    The more rows lie nearer than the last candidate, the smaller a part of them its surroundings are: of many
    candidates, or of rows of which only every `times`-th passes a filter. Where all rows around pass, it does not
    decay, however few pass elsewhere. The power is measured, since it depends on how rows are distributed.
    """
    return np.float32(probe_factor * max(times, 1.0) ** -filter_decay)
