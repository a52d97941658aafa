"""An inverted file: rows grouped by their nearest centroid, of which a query looks into the nearest groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from scim._core.checks import check_count
from scim._core.errors import FormatError
from scim.index._base import Index
from scim.index._distances import measure
from scim.index._kmeans import kmeans
from scim.index._nearest import nearest
from scim.index._recall import K, points_of, probes_for, recall_curve
from scim.index._scan import Lists, scan_lists
from scim.index._threads import threads_for
from scim.index._topk import empty_heaps, sort_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MARGIN = 16  # rows kept beyond k, since the scan rounds differently from the final distances
_BATCH = 256  # queries whose distances to all centroids are held at a time
_ROWS_PER_ANSWER = 16  # rows looked at for each one wanted, where k is larger than the recall was measured for


class IvfIndex(Index):
    """Rows by list, and the number of lists to probe."""

    kind: ClassVar[str] = "ivf"
    files: ClassVar[tuple[str, ...]] = ("centroids", "starts", "rows", "ranks", "places")

    def __init__(
        self,
        ids: NDArray[np.int64],
        centroids: NDArray[np.float32],
        lists: Lists,
        places: NDArray[np.int64],
        params: dict[str, Any],
    ) -> None:
        super().__init__(ids, centroids.shape[1])
        self._centroids, self._lists, self._params = centroids, lists, params
        self._places = places  # where the row of each rank is stored

    @property
    def params(self) -> dict[str, Any]:
        """`recall` asked for, `n_probes` chosen, and `curve`: the recall measured for numbers of probes."""
        return self._params

    @classmethod
    def from_rows(
        cls,
        rows: NDArray[np.float32],
        ids: NDArray[np.int64],
        rng: np.random.Generator,
        *,
        recall: float = 0.99,
        n_lists: int | None = None,
    ) -> IvfIndex:
        """Build from unit rows and ascending ids."""
        if not 0 < recall <= 1:
            msg = f"`recall` must be above 0 and at most 1, got {recall!r}."
            raise ValueError(msg)
        check_count("n_lists", 1 if n_lists is None else n_lists)
        n = len(rows)
        centroids = kmeans(rows, min(n, round(2 * n**0.5) if n_lists is None else n_lists), rng)
        labels = nearest(rows, centroids, 1)[1][:, 0]
        curve = recall_curve(rows, labels, centroids, rng)
        ranks = np.argsort(labels, kind="stable")
        places = np.empty_like(ranks)
        places[ranks] = np.arange(n)
        starts = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=len(centroids)))])
        params = {"recall": float(recall), "n_probes": probes_for(curve, recall), "curve": points_of(curve)}
        return cls(ids, centroids, Lists(starts, rows[ranks], ranks), places, params)

    def _search(
        self, X: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None, n_threads: int | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        n_probes = int(self._params["n_probes"])
        n_usual = n_probes * self.n_rows // len(self._centroids)  # rows that a query looks at
        with threads_for(0 if len(X) == 1 else X.size * n_usual, n_threads):
            if allowed is not None and len(allowed) <= max(n_usual, k):
                return self._search_few(X, k, allowed)
            n_passing = self.n_rows if allowed is None else len(allowed)
            n_wanted = k if k <= K else k * _ROWS_PER_ANSWER
            if allowed is not None:  # a filter says which rows are looked at, not how many
                n_wanted = max(n_wanted, n_usual)
            passes = np.zeros(0 if allowed is None else self.n_rows, dtype=np.bool_)
            if allowed is not None:
                passes[allowed] = True
            found = [
                self._probe(X[start : start + _BATCH], k, passes, n_probes, min(n_wanted, n_passing))
                for start in range(0, len(X), _BATCH)
            ]
        return np.concatenate([d for d, _ in found]), np.concatenate([r for _, r in found])

    def _search_few(
        self, X: NDArray[np.float32], k: int, allowed: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Measure all allowed rows."""
        distances, chosen = nearest(X, self._lists.rows[self._places[allowed]], k)
        return distances, allowed[chosen]

    def _probe(
        self, X: NDArray[np.float32], k: int, passes: NDArray[np.bool_], n_probes: int, n_wanted: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        n_lists = len(self._centroids)
        nearness = -measure(X, self._centroids, np.arange(n_lists)[None])
        order = np.tile(-np.arange(n_lists), (len(X), 1))
        values, ranks = empty_heaps(len(X), min(k + _MARGIN, self.n_rows))
        scan_lists(X, nearness, order, *self._lists, passes, n_probes, n_wanted, values, ranks)
        distances = measure(X, self._lists.rows, np.where(ranks < 0, -1, self._places[ranks]))
        sort_rows(distances, ranks)
        return distances[:, :k], ranks[:, :k]

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"centroids": self._centroids, "places": self._places, **self._lists._asdict()}

    @classmethod
    def _restore(cls, ids: NDArray[np.int64], arrays: dict[str, NDArray[Any]], params: dict[str, Any]) -> IvfIndex:
        starts = arrays["starts"]
        if starts[0] != 0 or starts[-1] != len(ids) or (np.diff(starts) < 0).any():
            msg = "The lists in 'starts.npy' do not follow each other; build the index again with `scim.index.build`."
            raise FormatError(msg)
        lists = Lists(starts, arrays["rows"], arrays["ranks"])
        return cls(ids, arrays["centroids"], lists, arrays["places"], params)
