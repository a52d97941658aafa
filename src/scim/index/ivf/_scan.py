"""The scan of one list: approximate scores of its rows from their codes, offered to the shortlist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.dot import nibble_dot, nibble_dots
from scim._core.numba import njit
from scim.index.ivf._room import STEP
from scim.index.ivf._shortlist import cut, offer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.index.ivf._lists import Rows
    from scim.index.ivf._room import Room

    Terms = tuple[np.float32, np.float32]


@njit
def score_row(dot: np.int32, scale: np.float32, base: np.float32, terms: Terms) -> np.float32:
    """Return the negated cosine: dot with the centroid, and with the middle of what the code stands for."""
    return -(base + scale * (terms[0] * np.float32(dot) - terms[1]))


@njit
def scan_all(
    start: int,
    stop: int,
    rows: Rows,
    mask: NDArray[np.bool_],
    base: np.float32,
    terms: Terms,
    name: int,
    m: int,
    room: Room,
    task: int,
    n_kept: int,
    bar: np.float32,
) -> tuple[int, np.float32]:
    """Offer the rows at `start` ... `stop`, or those of them that pass where `mask` is not empty."""
    code, dots, scores = room.code[task], room.dots[task], room.scores[task]
    values, names = room.values[task], room.names[task]
    for first in range(start, stop, STEP):
        n_rows = min(STEP, stop - first)
        if mask.shape[0] > 0 and not mask[first : first + n_rows].any():
            continue
        n_fours = n_rows & ~3
        for j in range(0, n_fours, 4):
            nibble_dots(rows.codes, first + j, code, dots, j)
        for j in range(n_fours, n_rows):
            nibble_dot(rows.codes, first + j, code, dots, j)
        scales = rows.scales[first : first + n_rows]
        for j in range(n_rows):
            scores[j] = score_row(dots[j], scales[j], base, terms)
        if mask.shape[0] > 0:
            for j in range(n_rows):
                if not mask[first + j]:
                    scores[j] = np.inf
        scores[n_rows:] = np.inf
        n_kept, bar = offer(scores, name + first, m, values, names, n_kept, bar)
    return n_kept, bar


@njit
def scan_some(
    places: NDArray[np.int32],
    rows: Rows,
    base: np.float32,
    terms: Terms,
    name: int,
    m: int,
    room: Room,
    task: int,
    n_kept: int,
    bar: np.float32,
) -> tuple[int, np.float32]:
    """Offer the rows at `places`."""
    code, dots, values, names = room.code[task], room.dots[task], room.values[task], room.names[task]
    for i in range(places.shape[0]):
        place = places[i]
        nibble_dot(rows.codes, place, code, dots, 0)
        score = score_row(dots[0], rows.scales[place], base, terms)
        if score < bar:
            values[n_kept], names[n_kept] = score, name + place
            n_kept += 1
            if n_kept == values.shape[0]:
                n_kept, bar = cut(values, names, m)
    return n_kept, bar
