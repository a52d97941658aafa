"""An inverted file: rows by list as small codes, of which a query looks into the lists that can matter."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from scim._core.dot import BLOCK
from scim._core.errors import FormatError
from scim.index._engine import Engine
from scim.index._threads import threads_for
from scim.index.ivf._codes import decode, padded
from scim.index.ivf._curve import K, point_for
from scim.index.ivf._lists import ALL, Checks, Coarse, Rows, Some, some_of
from scim.index.ivf._mark import mark
from scim.index.ivf._probe import shorter
from scim.index.ivf._room import Room, make_room
from scim.index.ivf._search import search_many
from scim.index.ivf._sums import sums_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from scim.index._engine import Passing

_LEAST = 16
"""Candidates beyond `k` that are measured at least."""
_GROWTH = 0.6
"""Power of `k` that the candidates beyond it grow with: farther neighbours are mixed up less by their errors."""
_ROOM_BYTES = 1 << 27
"""For the answers of queries that are searched together."""
_N_ROOMS = 4
"""Rooms that are kept for the next search."""
_LARGE_ROOM = 1 << 20
"""Candidates for which room is not kept."""
_N_TASKS = 16
"""More tasks than threads, so that a slow one does not hold up the rest."""
_NEAR = 1 / 4
"""Share of the lists whose centroids a query meets at first, those of the nearest groups."""
_NEAR_LEAST = 512
_MOST = 1 / 2
"""Share of the rows from which on a filter is searched with as if there were none."""


class IvfEngine(Engine):
    """Coarse lists and coded rows."""

    kind: ClassVar[str] = "ivf"
    files: ClassVar[tuple[str, ...]] = (
        *(f"coarse_{name}" for name in Coarse._fields),
        *(f"rows_{name}" for name in Rows._fields),
        "places",
    )

    knobs: ClassVar[tuple[str, ...]] = ("recall", "reach", "depth")
    scanned: ClassVar[tuple[str, ...]] = ("rows_codes", "rows_scales", "rows_ranks")

    def __init__(
        self,
        coarse: Coarse,
        rows: Rows,
        places: Callable[[], NDArray[np.int32]],
        params: dict[str, Any],
        *,
        trusted: bool = False,
    ) -> None:
        _check_shapes(coarse, rows)
        self.n_rows, self.dim = rows.values.shape
        self._coarse, self._rows, self._params = coarse, rows, params
        self._give_places = places
        done = np.full(len(coarse.centroids), trusted)
        self._checks = Checks(rows.codes.view(np.uint32), rows.scales.view(np.uint32), done)
        self._sizes = len(coarse.parents), len(coarse.centroids), int(np.diff(coarse.groups).max())
        self._rooms: dict[tuple[int, int], Room] = {}  # taken while a search works in it

    @functools.cached_property
    def _places(self) -> NDArray[np.int32]:
        """Where the row of each rank is kept."""
        return self._give_places()

    @property
    def params(self) -> dict[str, Any]:
        """`recall` asked for; `reach` and `depth` chosen for it; `curve`: the recall measured for values of `reach`."""
        return self._params

    @property
    def n_lists(self) -> int:
        """Number of lists."""
        return len(self._coarse.centroids)

    def lay_out(self, passing: Passing) -> Some:
        """Return the rows that pass by list."""
        return some_of(passing, self._rows.starts)

    def search(
        self,
        X: NDArray[np.float32],
        k: int,
        some: Some | None,
        n_threads: int | None,
        *,
        recall: float | None = None,
        reach: float | None = None,
        depth: float | None = None,
        **knobs: Any,  # noqa: ARG002  (there are no others)
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the nearest; `recall` picks a `reach` from the curve."""
        chosen = self._params if recall is None else point_for(self._params["curve"], recall)
        reach = float(chosen["reach"]) if reach is None else reach
        depth = float(chosen["depth"]) if depth is None else depth
        n_candidates = min(self.n_rows if some is None else some.n, k + self.spare(k, depth))
        shrink = float(self._params.get("shrink", 0))
        reach = float(shorter(reach, k / K, shrink))
        step = max(1, _ROOM_BYTES // (12 * k))
        n_usual = int(self._params.get("n_scanned", self.n_rows))
        with threads_for(len(X) * self.dim * max(k, n_usual) if len(X) > 1 else 0, n_threads):
            found = [
                self.answer(X[start : start + step], k, n_candidates, ALL if some is None else some, reach, shrink)[:2]
                for start in range(0, len(X), step)
            ]
        if len(found) == 1:
            return found[0]
        return np.concatenate([d for d, _ in found]), np.concatenate([r for _, r in found])

    @staticmethod
    def spare(k: int, depth: float) -> int:
        """Return the candidates beyond `k` that are measured."""
        return int(max(_LEAST, round(depth * K * (k / K) ** _GROWTH)))

    def answer(
        self, X: NDArray[np.float32], k: int, m: int, some: Some, reach: float, shrink: float = 0
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """Return distances and ranks (n, k) from about `m` candidates each, and the number of rows scanned (n,)."""
        n, n_lists = len(X), self.n_lists
        # Neighbouring queries follow each other, so that they find in cache what they have in common.
        order = np.arange(n) if n < _N_TASKS else np.argsort((X @ self._coarse.parents.T).argmax(axis=1), kind="stable")
        few = some is not ALL and some.n < _MOST * self.n_rows  # then near lists may have no row that passes
        n_near = n_lists if few else min(n_lists, max(_NEAR_LEAST, round(_NEAR * n_lists)))
        distances, ranks = np.empty((n, k), dtype=np.float32), np.empty((n, k), dtype=np.int64)
        scanned = np.empty(n, dtype=np.int64)
        key = min(_N_TASKS, n, max(2, _ROOM_BYTES // (36 * m))), m
        room = self._rooms.pop(key, None) or make_room(key[0], padded(self.dim), *self._sizes, m)
        search_many(
            X,
            order,
            m,
            reach,
            shrink,
            n_near,
            self._coarse,
            self._rows,
            self._checks,
            some,
            room,
            distances,
            ranks,
            scanned,
        )
        if len(self._rooms) < _N_ROOMS and key[0] * m < _LARGE_ROOM:
            self._rooms[key] = room
        if scanned.min(initial=1) <= 0:
            if scanned.min() < 0:
                self._refuse(-1 - int(scanned.min()))
            zero = scanned == 0  # rows of zeros, equally far from everything: the first ids
            distances[zero], ranks[zero] = 1, self._first(some, k)
        return distances, ranks, scanned

    def _first(self, some: Some, k: int) -> NDArray[np.int64]:
        if some is ALL:
            return np.arange(k)
        places = some.places if len(some.places) else np.flatnonzero(some.mask)
        return np.sort(self.ranks_at(places.astype(np.int64)))[:k]

    def vectors(self, ranks: NDArray[np.int64], n: int | None = None) -> NDArray[np.float32]:
        """Return the rows, exact to a 65,534th of the largest entry of their residual."""
        places = self.places_of(ranks)
        labels = self._checked_lists(places)
        out = np.empty((len(ranks), self.dim if n is None else min(n, self.dim)), dtype=np.float32)
        decode(places, labels, self._coarse.centroids, self._rows.values, self._rows.scales, out)
        return out

    def places_of(self, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the rows of these ranks are kept."""
        return self._places[ranks].astype(np.int64)

    def ranks_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ranks of the rows at these places."""
        if not self._checks.done.all():
            self._checked_lists(places)
        return self._rows.ranks[places].astype(np.int64)

    def ranks_in(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the ranks, ascending, of the rows at the places where `mask` is true."""
        if not self._checks.done.all():
            self._checked_lists(np.flatnonzero(mask))
        passes = np.empty(self.n_rows, dtype=np.bool_)
        mark(mask, self._rows.ranks, passes)  # quicker than to sort them
        return np.flatnonzero(passes)

    def _checked_lists(self, places: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the list of each place, after comparing the checksums of those that were not compared yet."""
        labels = (np.searchsorted(self._rows.starts, places, side="right") - 1).astype(np.int32)
        done = self._checks.done
        if not done.all():
            wanted = np.zeros(self.n_lists, dtype=np.bool_)
            wanted[labels] = True
            fresh = np.flatnonzero(wanted & ~done)
            if len(fresh):
                wrong = sums_of(fresh, self._rows, self._checks) != self._rows.sums[fresh]
                if wrong.any():
                    self._refuse(int(fresh[np.argmax(wrong)]))
                done[fresh] = True
        return labels

    def _refuse(self, number: int) -> NoReturn:
        msg = (
            f"The index is damaged: the rows of list {number} have changed since they were saved. "
            "Build it again with `scim.index.build`, or restore it from a copy."
        )
        raise FormatError(msg)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays named in `files`."""
        parts: dict[str, Any] = {"coarse": self._coarse, "rows": self._rows}
        named = {f"{part}_{name}": array for part, of in parts.items() for name, array in of._asdict().items()}
        return {**named, "places": self._places}

    @property
    def resident(self) -> dict[str, int]:
        """Bytes of the arrays that a search reads throughout."""
        rows = self._rows
        centroids = sum(array.nbytes for array in self._coarse) + rows.starts.nbytes + rows.sums.nbytes
        return {
            "codes": rows.codes.nbytes,
            "scales": rows.scales.nbytes,
            "ranks": rows.ranks.nbytes,
            "centroids": centroids,
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], params: dict[str, Any]) -> IvfEngine:
        """Return the engine of these arrays; of the large ones, each list is checked when it is first looked into."""
        coarse = Coarse(*(arrays[f"coarse_{name}"] for name in Coarse._fields))
        unchecked = getattr(arrays, "unchecked", arrays.__getitem__)
        rows = Rows(
            *((arrays.__getitem__ if n in ("starts", "sums") else unchecked)(f"rows_{n}") for n in Rows._fields)
        )
        return cls(coarse, rows, lambda: arrays["places"], params)


def _check_shapes(coarse: Coarse, rows: Rows) -> None:
    """Refuse arrays that do not fit each other: kernels would read beyond them."""
    (n, dim), (n_lists, n_groups) = rows.values.shape, (len(coarse.centroids), len(coarse.parents))
    expected: dict[str, tuple[NDArray[Any], tuple[int, ...]]] = {
        "parents": (coarse.parents, (n_groups, dim)), "groups": (coarse.groups, (n_groups + 1,)),
        "centroids": (coarse.centroids, (n_lists, dim)),
        "codes of lists": (coarse.codes, (n_lists, -(-dim // BLOCK) * BLOCK)),
        "scales of lists": (coarse.scales, (n_lists,)), "radii": (coarse.radii, (n_lists,)),
        "starts": (rows.starts, (n_lists + 1,)), "codes": (rows.codes, (n, padded(dim) // 2)),
        "scales": (rows.scales, (n,)), "ranks": (rows.ranks, (n,)), "sums": (rows.sums, (n_lists,)),
    }  # fmt: skip
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            msg = f"The {name} of the index have shape {array.shape}, expected {shape}; build it again."
            raise FormatError(msg)
    for name, starts, end in (("groups", coarse.groups, n_lists), ("lists", rows.starts, n)):
        if starts[0] != 0 or starts[-1] != end or (np.diff(starts) < 0).any():
            msg = f"The {name} of the index do not follow each other; build it again."
            raise FormatError(msg)
