"""The scan of one list: approximate scores of its rows from their codes, offered to the shortlist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.dot import nibble_dot, nibble_dots
from scim._core.numba import njit
from scim.index.ivf._shortlist import STEP, cut, offer

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit
def score_row(dot: np.int32, scale: np.float32, base: np.float32, factor: np.float32, offset: np.float32) -> np.float32:
    """Return the negated cosine: dot with the centroid, and with the middle of what the code stands for."""
    return -(base + scale * (factor * np.float32(dot) - offset))


@njit
def scan_all(
    start: int,
    stop: int,
    codes: NDArray[np.uint8],
    scales: NDArray[np.float32],
    mask: NDArray[np.bool_],
    code: NDArray[np.int8],
    base: np.float32,
    terms: tuple[np.float32, np.float32],
    name: int,
    m: int,
    dots: NDArray[np.int32],
    scores: NDArray[np.float32],
    values: NDArray[np.float32],
    names: NDArray[np.int64],
    n_kept: int,
    bar: np.float32,
) -> tuple[int, np.float32]:
    """Offer the rows at `start` ... `stop`, or those of them that pass where `mask` is not empty."""
    factor, offset = terms
    for first in range(start, stop, STEP):
        n_rows = min(STEP, stop - first)
        if mask.shape[0] > 0 and not mask[first : first + n_rows].any():
            continue
        n_fours = n_rows & ~3
        for j in range(0, n_fours, 4):
            nibble_dots(codes, first + j, code, dots, j)
        for j in range(n_fours, n_rows):
            nibble_dot(codes, first + j, code, dots, j)
        some = scales[first : first + n_rows]
        for j in range(n_rows):
            scores[j] = score_row(dots[j], some[j], base, factor, offset)
        if mask.shape[0] > 0:
            for j in range(n_rows):
                if not mask[first + j]:
                    scores[j] = np.inf
        scores[n_rows:STEP] = np.inf
        n_kept, bar = offer(scores, name + first, m, values, names, n_kept, bar)
    return n_kept, bar


@njit
def scan_some(
    places: NDArray[np.int32],
    codes: NDArray[np.uint8],
    scales: NDArray[np.float32],
    code: NDArray[np.int8],
    base: np.float32,
    terms: tuple[np.float32, np.float32],
    name: int,
    m: int,
    dots: NDArray[np.int32],
    values: NDArray[np.float32],
    names: NDArray[np.int64],
    n_kept: int,
    bar: np.float32,
) -> tuple[int, np.float32]:
    """Offer the rows at `places`."""
    factor, offset = terms
    for i in range(places.shape[0]):
        place = places[i]
        nibble_dot(codes, place, code, dots, 0)
        score = score_row(dots[0], scales[place], base, factor, offset)
        if score < bar:
            values[n_kept], names[n_kept] = score, name + place
            n_kept += 1
            if n_kept == values.shape[0]:
                n_kept, bar = cut(values, names, m)
    return n_kept, bar
