"""An index of kind `ivf`: an inverted file of coded rows, of which a query probes the lists that can matter."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from scim._core import FormatError
from scim._core.cosine import is_directed
from scim._core.numba import threads
from scim._core.topk import empty_heaps
from scim.index._check import are_within
from scim.index._engine import Engine
from scim.index._truth import K
from scim.index.ivf._calibrate import point_for
from scim.index.ivf._candidates import ALL, RowFilter, Workspace, compile_filter, make_workspace
from scim.index.ivf._codes import Checks, Coarse, Rows, are_sound, decode, padded, scatter
from scim.index.ivf._restore import check_coarse, check_shapes, read_offsets
from scim.index.ivf._search import decayed, search_many

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from scim._core.types import Bools, Floats, Ints, Ints32
    from scim.index._engine import Hits, Passing
    from scim.index._files import Arrays

_LEAST = 16  # candidates beyond `k` that are re-ranked at least
_GROWTH = 0.6  # power of `k` that the candidates beyond it grow with: errors change a distant order less
_WORK_BYTES = 1 << 27  # of the results of queries that are searched together
_N_WORKSPACES = 4  # that are kept for the next search
_LARGE_WORKSPACE = 1 << 20  # candidates for which a workspace is not kept
_N_TASKS = 16  # more tasks than threads, so that a slow one does not hold up the rest
_NEAR = 1 / 4  # share of the lists that a query scores first, those of the nearest groups
_NEAR_LEAST = 512
_MOST = 1 / 2  # filter selectivity from which on lists are scored as without a filter


class IvfEngine(Engine):
    """Inverted lists of coded rows."""

    kind: ClassVar[str] = "ivf"
    files: ClassVar[Mapping[str, str]] = {
        "coarse_parents": "<f4", "coarse_groups": "<i8", "coarse_centroids": "<f4", "coarse_codes": "|u1",
        "coarse_scales": "<f4", "coarse_radii": "<f4",
        "rows_starts": "<i8", "rows_codes": "|u1", "rows_scales": "<f4", "rows_ranks": "<i4", "rows_values": "<u2",
        "rows_sums": "<u8", "places": "<i4",
    }  # fmt: skip
    small: ClassVar[tuple[str, ...]] = (*(f"coarse_{name}" for name in Coarse._fields), "rows_starts", "rows_sums")
    scanned: ClassVar[tuple[str, ...]] = ("rows_codes", "rows_scales", "rows_ranks")
    build_params: ClassVar[tuple[str, ...]] = ("recall", "n_lists")
    search_params: ClassVar[tuple[str, ...]] = ("recall", "probe_factor", "rerank_factor")

    def __init__(
        self,
        coarse: Coarse,
        rows: Rows,
        offsets: Callable[[], Ints32],
        params: dict[str, Any],
        where: str = "the index",
    ) -> None:
        self.n_rows, self.dim = rows.values.shape
        self._coarse, self._rows, self._read_offsets, self.params = coarse, rows, offsets, params
        self._where = where  # it was opened from, for errors
        done = np.zeros(len(coarse.centroids), dtype=np.bool_)
        self._checks = Checks(rows.codes.view(np.uint32), rows.scales.view(np.uint32), done)
        self._sizes = len(coarse.parents), len(coarse.centroids), int(np.diff(coarse.groups).max())
        self._workspaces: dict[tuple[int, int], Workspace] = {}  # taken out while a search works in it

    @functools.cached_property
    def _offsets(self) -> Ints32:
        """Offset of the row of each rank."""
        return self._read_offsets()

    @property
    def n_lists(self) -> int:
        """Number of lists."""
        return len(self._coarse.centroids)

    @functools.cached_property
    def empty(self) -> Ints:
        """Offsets of the rows of zeros: those equal to a centroid of zeros."""
        starts = self._rows.starts
        lists = np.flatnonzero(~is_directed(self._coarse.centroids))
        offsets = np.concatenate([np.empty(0, dtype=np.int64), *(np.arange(starts[i], starts[i + 1]) for i in lists)])
        self._checked_lists(offsets)
        empty: Ints = offsets[self._rows.scales[offsets] == 0]
        return empty

    @property
    def not_empty(self) -> RowFilter:
        """The rows that a query can find."""
        if not len(self.empty):
            return ALL
        passes = np.ones(self.n_rows, dtype=np.bool_)
        passes[self.empty] = False
        return self.compile_filter(passes)

    def compile_filter(self, passing: Passing) -> RowFilter:
        """Return the rows that pass by list."""
        return compile_filter(passing, self._rows.starts)

    def search(self, X: Floats, k: int, row_filter: RowFilter | None, n_threads: int | None, **params: Any) -> Hits:
        """Return the nearest rows; `recall` picks both factors from the curve."""
        given = {name: float(value) for name, value in params.items() if value is not None}
        chosen = point_for(self.params["curve"], given["recall"]) if "recall" in given else self.params
        factor, rerank_factor = (given.get(name, float(chosen[name])) for name in ("probe_factor", "rerank_factor"))
        passing = ALL if row_filter is None else row_filter
        m = min(self.n_rows if row_filter is None else int(row_filter.starts[-1]), k + self.n_spare(k, rerank_factor))
        decay = float(self.params.get("filter_decay", 0))
        factor = float(decayed(factor, k / K, decay))
        step = max(1, _WORK_BYTES // (12 * k))
        n_usual = int(self.params.get("n_scanned", self.n_rows))
        with threads(n_threads, work=len(X) * self.dim * max(k, n_usual) if len(X) > 1 else 0):
            chunks = (X[start : start + step] for start in range(0, len(X), step))
            parts = [self.search_candidates(chunk, k, m, passing, factor, decay)[:2] for chunk in chunks]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([d for d, _ in parts]), np.concatenate([r for _, r in parts])

    @staticmethod
    def n_spare(k: int, rerank_factor: float) -> int:
        """Return the number of candidates beyond `k` that are re-ranked."""
        return int(max(_LEAST, round(rerank_factor * K * (k / K) ** _GROWTH)))

    def search_candidates(
        self, X: Floats, k: int, m: int, row_filter: RowFilter, probe_factor: float, filter_decay: float = 0.0
    ) -> tuple[Floats, Ints, Ints]:
        """Return distances and ranks (n, k) from about `m` candidates each, and the number of rows scanned (n,)."""
        n, n_lists = len(X), self.n_lists
        # Neighbouring queries follow each other, so that they share the cache.
        order = np.arange(n) if n < _N_TASKS else np.argsort((X @ self._coarse.parents.T).argmax(axis=1), kind="stable")
        few = row_filter is not ALL and row_filter.starts[-1] < _MOST * self.n_rows  # near lists may have no row
        n_near = n_lists if few else min(n_lists, max(_NEAR_LEAST, round(_NEAR * n_lists)))
        (distances, ranks), scanned = empty_heaps(n, k), np.empty(n, dtype=np.int64)
        key = min(_N_TASKS, n, max(2, _WORK_BYTES // (36 * m))), m
        work = self._workspaces.pop(key, None) or make_workspace(key[0], padded(self.dim), *self._sizes, m)
        parts = self._coarse, self._rows, self._checks, row_filter, work
        search_many(X, order, m, probe_factor, filter_decay, n_near, *parts, distances, ranks, scanned)
        if len(self._workspaces) < _N_WORKSPACES and key[0] * m < _LARGE_WORKSPACE:
            self._workspaces[key] = work
        if scanned.min(initial=0) < 0:
            self._refuse(-1 - int(scanned.min()))
        return distances, ranks, scanned

    def vectors(self, ranks: Ints, n: int | None = None) -> Floats:
        """Return the rows, exact to a 65,534th of the largest entry of their residual."""
        offsets = self.offsets_of(ranks)
        labels = self._checked_lists(offsets)
        out = np.empty((len(ranks), self.dim if n is None else min(n, self.dim)), dtype=np.float32)
        decode(offsets, labels, self._coarse.centroids, self._rows.values, self._rows.scales, out)
        return out

    def offsets_of(self, ranks: Ints) -> Ints:
        """Return the offsets of the rows of these ranks."""
        return self._offsets[ranks].astype(np.int64)

    def ranks_at(self, offsets: Ints) -> Ints:
        """Return the ranks of the rows at these offsets."""
        if not self._checks.done.all():
            self._checked_lists(offsets)
        return self._rows.ranks[offsets].astype(np.int64)

    def ranks_in(self, mask: Bools) -> Ints:
        """Return the ranks, ascending, of the rows at the offsets where `mask` is true."""
        if not self._checks.done.all():
            self._checked_lists(np.flatnonzero(mask))
        passes = np.zeros(self.n_rows, dtype=np.bool_)
        scatter(mask, self._existing_ranks, passes)  # quicker than to sort them
        return np.flatnonzero(passes)

    @functools.cached_property
    def _existing_ranks(self) -> Ints32:
        """Rank of the row at each offset, those of lists that were not checked too: each is that of a row."""
        ranks = self._rows.ranks
        if not are_within(ranks, self.n_rows):
            self._refuse(int(np.searchsorted(self._rows.starts, np.argmax(ranks.view(np.uint32)), side="right")) - 1)
        return ranks

    def _checked_lists(self, offsets: Ints) -> Ints32:
        """Return the list of each offset, after comparing the checksums of those that were not compared yet."""
        labels = (np.searchsorted(self._rows.starts, offsets, side="right") - 1).astype(np.int32)
        done = self._checks.done
        if not done.all():
            wanted = np.zeros(self.n_lists, dtype=np.bool_)
            wanted[labels] = True
            unchecked = np.flatnonzero(wanted & ~done)
            sound = np.empty(len(unchecked), dtype=np.bool_)
            are_sound(unchecked, self._rows, self._checks, sound)
            if not sound.all():
                self._refuse(int(unchecked[np.argmin(sound)]))
            done[unchecked] = True
        return labels

    def _refuse(self, number: int) -> NoReturn:
        remedy = "Build it again with `scim.index.build`, or restore it from a copy."
        msg = f"{self._where!r} is damaged: the rows of list {number} have changed since they were saved. {remedy}"
        raise FormatError(msg)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays named in `files`."""
        return dict(zip(self.files, (*self._coarse, *self._rows, self._offsets), strict=True))

    @property
    def resident(self) -> dict[str, int]:
        """Bytes of the arrays that a search reads throughout."""
        rows = self._rows
        sizes = {name: getattr(rows, name).nbytes for name in ("codes", "scales", "ranks")}
        return {**sizes, "centroids": sum(array.nbytes for array in (*self._coarse, rows.starts, rows.sums))}

    @classmethod
    def restore(cls, arrays: Arrays, params: dict[str, Any]) -> IvfEngine:
        """Return the engine of these arrays; of the large ones, each list is checked when it is first probed."""
        coarse = Coarse(*(arrays[f"coarse_{name}"] for name in Coarse._fields))
        read = {"starts": arrays.__getitem__, "sums": arrays.__getitem__}
        rows = Rows(*(read.get(name, arrays.unchecked)(f"rows_{name}") for name in Rows._fields))
        check_shapes(arrays, coarse, rows)
        check_coarse(arrays, coarse, rows)
        return cls(coarse, rows, lambda: read_offsets(arrays, rows.ranks), params, str(arrays.folder))
