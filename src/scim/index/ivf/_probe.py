"""Which lists a query looks into, and in which order.

Lists are looked into from the nearest centroid on. With `a` the angle to the last of the candidates so far and `p` the
angle to the nearest centroid, a list whose centroid is at angle `c` and whose rows lie `r` around it is seen if

    c <= max(a, p) + reach * min(a, 2.5 * r)

The bound moves with the query: lists that cannot help are left out in dense places and taken in where rows are far
between, whether because of the place, of `k` or of a filter. One number, `reach`, is measured for a recall. What the
terms are for: rows closer than the centroid itself (`p`: small `k`, twins of the query), and rows all far away (`r`: a
filter that leaves only distant lists, of which most are then equally far).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.dot import byte_dot, byte_dots
from scim._core.numba import njit
from scim.index.exact._topk import make_heap, sort_heap
from scim.index.ivf._scan import score_row
from scim.index.ivf._shortlist import bar_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.index.ivf._lists import Coarse
    from scim.index.ivf._room import Room
    from scim.index.ivf._scan import Terms

FAR = 2.5
"""Radii of a list beyond which its own size, not the distance of the candidates, bounds the search."""
FRONT = 32
"""Lists that are put in order at first; then eight times as many, and so on."""


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
def meet_parents(query: NDArray[np.float32], coarse: Coarse, room: Room, task: int) -> None:
    """Write the dots with all parents: no group is visited yet."""
    left = room.left[task]
    for group in range(left.shape[0]):
        left[group] = dot(query, coarse.parents[group])


@njit
def near_lists(wanted: int, terms: Terms, coarse: Coarse, passing: NDArray[np.int64], room: Room, task: int) -> int:
    """Write negated cosines and numbers of the lists of the nearest groups not visited yet, until there are `wanted`.

    Return how many. Lists without passing rows are left out, if `passing`, the rows before each list, is not empty.
    """
    code, left, dots = room.code[task], room.left[task], room.dots[task]
    near, lists = room.near[task], room.lists[task]
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
def next_front(n_near: int, above: np.float32, n_wanted: int, room: Room, task: int) -> tuple[int, np.float32]:
    """Write about `n_wanted` of the nearest lists beyond `above`, nearest first; return how many, and the last."""
    near, lists = room.near[task, :n_near], room.lists[task]
    front, front_lists = room.front[task], room.front_lists[task]
    n_left = 0
    for i in range(n_near):
        n_left += near[i] > above
    bar = np.float32(np.inf)
    if n_left > n_wanted:
        _, bar = bar_for(near, above, n_wanted)
    n_front = 0
    for i in range(n_near):
        if above < near[i] and near[i] <= bar:
            front[n_front], front_lists[n_front] = near[i], lists[i]
            n_front += 1
    make_heap(front[:n_front], front_lists[:n_front])
    sort_heap(front[:n_front], front_lists[:n_front])
    return n_front, bar


@njit
def helps(centre: np.float32, radius: np.float32, last: np.float32, nearest: np.float32, reach: np.float32) -> bool:
    """Say whether a list is looked into, by the rule above."""
    return bool(centre <= max(last, nearest) + reach * min(last, np.float32(FAR) * radius))


@njit
def shorter(reach: np.float32 | float, times: float, shrink: np.float32 | float) -> np.float32:
    """Return the reach that finds as large a share of `times` as many rows.

    The more rows lie nearer than the last candidate, the smaller a part of them its surroundings are: of many
    candidates, or of rows of which only every `times`-th passes a filter. Where all rows around pass, it does not
    shrink, however few pass elsewhere. The power is measured, since it depends on how rows are spread.
    """
    return np.float32(reach * max(times, 1.0) ** -shrink)
