"""Which cells are compared with which: each cell of a group with one of another type."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim.ontology import related

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Pairs(NamedTuple):
    """Row-paired cells."""

    anchors: NDArray[np.int64]
    """(n_pairs,) rows of the cells that are explained."""

    negatives: NDArray[np.int64]
    """(n_pairs,) rows of the cells that they are compared with."""


def rivals(names: Sequence[str]) -> NDArray[np.bool_]:
    """Say which groups are other types of cells than which, shape (n_groups, n_groups).

    Groups of which one is above the other in the Cell Ontology may hold the same cells, named at another depth, and
    are no rivals. Names that the ontology does not know, as those of clusters, are rivals to all others.
    """
    return ~related(list(names))


def draw_pairs(
    codes: NDArray[np.integer],
    group: int,
    others: Sequence[int] | NDArray[np.integer],
    n_pairs: int,
    rng: np.random.Generator,
) -> Pairs:
    """Pair cells of one group with cells of others, each other group as often as any.

    Cells and groups come in random order; once all have come they come again in a new order, so that none is drawn
    twice more often than another.

    Parameters
    ----------
    codes
        (n_obs,) group of each cell; -1 = in none.
    group
        Group of the anchors.
    others
        Groups of the negatives.
    n_pairs
        Number of pairs.
    rng
        Draws them.
    """
    anchors = _in_turns(np.flatnonzero(codes == group), n_pairs, rng)
    of = _in_turns(np.asarray(others), n_pairs, rng)
    negatives = np.empty(n_pairs, dtype=np.int64)
    for other in np.unique(of):
        here = of == other
        negatives[here] = _in_turns(np.flatnonzero(codes == other), int(here.sum()), rng)
    return Pairs(anchors, negatives)


def _in_turns(values: NDArray[np.integer], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    rounds = [rng.permutation(values) for _ in range(-(-n // len(values)))]
    return np.concatenate(rounds)[:n].astype(np.int64)
