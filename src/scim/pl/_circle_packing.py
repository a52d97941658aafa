"""Pack circles without overlap, and find a circle around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from scim._core.types import Doubles

_N_STEPS = 300  # of the walk to the centre of the enclosing circle: its radius is within 1 % of the smallest


class Packing(NamedTuple):
    """Circles that do not overlap, in a circle around the origin."""

    centers: Doubles  # (n, 2)
    radius: float  # of the circle that contains all of them


def pack_circles(radii: Doubles) -> Packing:
    """Place circles of these radii, (n,), at least one: the largest in the middle, each next one where it is nearest.

    Every circle after the second touches two that were placed before it. The time grows with n^4, a tenth of a second
    for 40.
    """
    order = np.argsort(-radii, kind="stable")
    sorted_radii, placed = radii[order], np.zeros((len(radii), 2))
    if len(radii) > 1:
        placed[1] = sorted_radii[0] + sorted_radii[1], 0.0
    for i in range(2, len(radii)):
        places = _touching(placed[:i], sorted_radii[:i], sorted_radii[i])
        gaps = np.linalg.norm(places[:, None] - placed[:i], axis=2) - sorted_radii[:i] - sorted_radii[i]
        free = places[(gaps > -1e-9 * sorted_radii[0]).all(axis=1)]
        middle = np.average(placed[:i], axis=0, weights=sorted_radii[:i] ** 2)
        placed[i] = free[np.argmin(np.linalg.norm(free - middle, axis=1))]
    center = _enclosing_center(placed, sorted_radii)
    centers = np.empty_like(placed)
    centers[order] = placed - center
    return Packing(centers, float((np.linalg.norm(centers, axis=1) + radii).max()))


def _touching(centers: Doubles, radii: Doubles, radius: float) -> Doubles:
    """Return the centres, (n_places, 2), of circles of this radius that touch two of the circles."""
    first, second = np.triu_indices(len(radii), k=1)
    a, b = radii[first] + radius, radii[second] + radius
    between = centers[second] - centers[first]
    distance = np.linalg.norm(between, axis=1)
    near = distance <= a + b
    first, a, b, between, distance = first[near], a[near], b[near], between[near], distance[near]
    along = (distance**2 + a**2 - b**2) / (2 * distance)  # law of cosines
    across = np.sqrt(np.maximum(a**2 - along**2, 0))
    unit = between / distance[:, None]
    foot, side = centers[first] + along[:, None] * unit, across[:, None] * unit[:, ::-1] * [-1, 1]
    return np.concatenate([foot + side, foot - side])


def _enclosing_center(centers: Doubles, radii: Doubles) -> Doubles:
    """Return the centre of the smallest circle around circles: step to the farthest, by less and less."""
    center: Doubles = np.average(centers, axis=0, weights=radii)
    for step in range(2, _N_STEPS):
        offset = centers - center
        distance = np.linalg.norm(offset, axis=1) + radii
        farthest = int(np.argmax(distance))
        length = float(np.linalg.norm(offset[farthest]))
        if length == 0:
            break
        center = center + offset[farthest] / length * distance[farthest] / step
    return center
