"""The nearest rows of several segments: each is searched, and the answers are merged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scim.index._lookup import vectors_of
from scim.index._threads import threads_for
from scim.index._twins import twins
from scim.index.exact._topk import sort_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from scim.index._segment import Segment

    Found = tuple[NDArray[np.float32], NDArray[np.int64]]

_SORTING = 64
"""Multiplications that sorting an answer of several segments takes as long as."""
_SPARE = 16
"""Hits that are looked for beyond those wanted, in case some are twins."""


class Search(NamedTuple):
    """What a query asks of segments, beside its vectors."""

    segments: Sequence[Segment]
    passing: Sequence[Any]
    """Rows of each segment that may be answered, as its engine wants them; `None` for all."""
    n_threads: int | None
    knobs: Mapping[str, Any]

    @property
    def counts(self) -> list[int]:
        """Number of passing rows of each segment."""
        pairs = zip(self.segments, self.passing, strict=True)
        return [segment.engine.n_rows if some is None else int(some.n) for segment, some in pairs]


def find(search: Search, X: NDArray[np.float32], k: int) -> Found:
    """Return distances and ids of the nearest rows of unit queries, (n, k); at least `k` rows pass."""
    parts = []
    for segment, some, n in zip(search.segments, search.passing, search.counts, strict=True):
        if n and k:
            known = {name: value for name, value in search.knobs.items() if name in segment.engine.knobs}
            distances, ranks = segment.engine.search(X, min(k, n), some, search.n_threads, **known)
            parts.append((distances, segment.ids_of(ranks)))
    if not parts:
        return np.empty((len(X), 0), dtype=np.float32), np.empty((len(X), 0), dtype=np.int64)
    if len(parts) == 1:
        return parts[0]
    distances, ids = np.concatenate([d for d, _ in parts], axis=1), np.concatenate([i for _, i in parts], axis=1)
    with threads_for(distances.size * _SORTING, search.n_threads):
        sort_rows(distances, ids)
    return distances[:, :k], ids[:, :k]


def find_distinct(search: Search, X: NDArray[np.float32], k: int) -> Found:
    """Do the same without twins, `inf` and -1 behind; more rows are looked for where too few are left."""
    n_passing = sum(search.counts)
    out = np.full((len(X), k), np.inf, dtype=np.float32), np.full((len(X), k), -1, dtype=np.int64)
    short, wanted = np.arange(len(X)), min(n_passing, k + _SPARE)
    while len(short):
        distances, ids = find(search, X[short], wanted)
        twin = twins(distances, ids, lambda some, n: vectors_of(search.segments, some, n))
        if not twin.any():
            out[0][short, : distances.shape[1]], out[1][short, : ids.shape[1]] = distances[:, :k], ids[:, :k]
            break
        order = np.argsort(twin, axis=1, kind="stable")[:, :k]
        twin = np.take_along_axis(twin, order, axis=1)
        out[0][short, : order.shape[1]] = np.where(twin, np.inf, np.take_along_axis(distances, order, axis=1))
        out[1][short, : order.shape[1]] = np.where(twin, -1, np.take_along_axis(ids, order, axis=1))
        short = short[twin.any(axis=1)] if wanted < n_passing else short[:0]
        wanted = min(4 * wanted, n_passing)
    return out
