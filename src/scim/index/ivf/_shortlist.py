"""The best candidates of a query so far: a buffer that is cut back to the best `m` when it is full."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.numba import njit
from scim.index.exact._topk import make_heap, sort_heap
from scim.index.ivf._room import STEP

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BISECTIONS = 26


@njit
def bar_for(values: NDArray[np.float32], above: np.float32, m: int) -> tuple[np.float32, np.float32]:
    """Return (low, bar): at least `m` of the values above `above` are at most `bar`, fewer than `m` at most `low`.

    By bisection, since counting is what vector units are good at. It ends when the count is within a quarter of `m`, or
    when values cannot be told apart. The values are negated cosines, or distances; there must be `m` of them.
    """
    low, bar = max(above, np.float32(-1.1)), np.float32(2.1)
    for _ in range(_BISECTIONS):
        middle = np.float32(0.5) * (low + bar)
        count = np.int32(0)
        for i in range(values.shape[0]):
            count += np.int32(above < values[i]) & np.int32(values[i] <= middle)
        if count < m:
            low = middle
            continue
        bar = middle
        if count <= m + (m >> 2):
            break
    return low, bar


@njit
def cut(values: NDArray[np.float32], names: NDArray[np.int64], m: int) -> tuple[int, np.float32]:
    """Move about `m` of the smallest values, in the order they came in, to the front; return how many, and the largest.

    Of values that cannot be told apart those stay that came first: equal rows come by their rank.
    """
    low, bar = bar_for(values, np.float32(-np.inf), m)
    n_sure, n_even = np.int32(0), np.int32(0)
    for i in range(values.shape[0]):
        n_sure += np.int32(values[i] <= low)
        n_even += np.int32(values[i] <= bar) - np.int32(values[i] <= low)
    n_kept, room = 0, m + (m >> 2) - n_sure
    for i in range(values.shape[0]):  # without a branch: which values stay cannot be predicted
        value, stays = values[i], values[i] <= bar
        if n_even > room and stays and value > low:
            stays = room > 0
            room -= 1
        values[n_kept], names[n_kept] = value, names[i]
        n_kept += stays
    return n_kept, values[:n_kept].max()


@njit
def offer(
    scores: NDArray[np.float32],
    first: int,
    m: int,
    values: NDArray[np.float32],
    names: NDArray[np.int64],
    n_kept: int,
    bar: np.float32,
) -> tuple[int, np.float32]:
    """Keep those of `STEP` scores that are below the bar; the name of the j-th is `first + j`."""
    n_better = np.int32(0)
    for j in range(STEP):
        n_better += np.int32(scores[j] < bar)
    if n_better == 0:
        return n_kept, bar
    for j in range(STEP):  # without a branch: which scores pass cannot be predicted
        values[n_kept], names[n_kept] = scores[j], first + j
        n_kept += scores[j] < bar
    if n_kept > values.shape[0] - STEP:
        n_kept, bar = cut(values[:n_kept], names[:n_kept], m)
    return n_kept, bar


@njit
def sort_nearest(values: NDArray[np.float32], names: NDArray[np.int64], k: int) -> None:
    """Put the `k` smallest in front, by value and then by name; what comes behind is in no order."""
    _, bar = bar_for(values, np.float32(-np.inf), k)
    n_near = 0
    for j in range(values.shape[0]):
        if values[j] <= bar:
            values[n_near], values[j] = values[j], values[n_near]
            names[n_near], names[j] = names[j], names[n_near]
            n_near += 1
    make_heap(values[:n_near], names[:n_near])
    sort_heap(values[:n_near], names[:n_near])
