"""Whether a group of cells is one state of the atlas, or several that have no cell between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.groups import Groups
    from scim.atlas import Atlas

N_CENTRES = 10
N_NEAREST = 100
_N_RUNS = 5
"""k-means ends differently from different starts, by some 10 of 100: the mean of a few runs is taken."""
_N_STARTS = 3
_HIT = 0.85
"""Hits are within this part of a reach: between two types that have nothing in common their mean is .29 from both,
which in the packaged atlas is .8 of one. Nearer than that, T cells are no longer one state."""
_MOST_CELLS = 5_000
"""Centres of more cells than this are found from as many of them, evenly spaced."""


def coherence(
    X: NDArray[np.float32], groups: Groups, queries: NDArray[np.float32], atlas: Atlas, **how: Any
) -> NDArray[np.float32]:
    r"""Return how well the query of each group stands for its cells: 0 to 100.

    The cells of a group are summed up by ten centres, in each of five runs of k-means :cite:p:`Lloyd1982`.
    :math:`N_i` are the 100 cells of the atlas nearest to centre i, those within one reach of it; :math:`H` are all
    cells of the atlas within .85 of one from the query. The mean over the centres of
    :math:`100 |N_i \cap H| / |N_i|` (0 where :math:`N_i` is empty) follows :cite:t:`Heimberg2025` but for `H`: there
    it is the 10,000 nearest of 23 million cells. A number of hits measures how common a state is in the atlas: of
    5,000 cells of a type most are not among 1,000 hits, and among 3,000 are those of a mixture of small types. The
    reach, within which cells find their label in other studies, is the same for rare and common states and does not
    ask for `k`.

    Parameters
    ----------
    X
        (n_obs, dim) embeddings of the cells.
    groups
        Their groups.
    queries
        (n_groups, dim) what was searched for each group.
    atlas
        Where.
    how
        Arguments of the query of its index: filter, duplicates.

    Returns
    -------
    float32 (n_groups,); NaN where no centre has a cell of the atlas within one reach.
    """
    reach = 2.0 if atlas.reach is None else atlas.reach
    out = np.full(len(groups.names), np.nan, dtype=np.float32)
    for i, query in enumerate(queries):
        near = atlas.index.query(_centres(X[groups.codes == i]), N_NEAREST, **how)
        alike = near.distances <= reach
        if alike.any():
            ids, place = np.unique(near.ids[alike], return_inverse=True)
            hit = np.zeros(alike.shape, dtype=bool)
            hit[alike] = (1 - atlas.index.vectors(ids) @ _unit(query) <= _HIT * reach)[place]
            shares = hit.sum(axis=1) / np.maximum(alike.sum(axis=1), 1)
            out[i] = 100 * shares.mean()
    return out


def _centres(cells: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return ten centres of cells for each run; of ten cells and fewer, the cells."""
    from sklearn.cluster import KMeans  # noqa: PLC0415  (searching for cells needs no scikit-learn)
    from threadpoolctl import threadpool_limits  # noqa: PLC0415  (comes with it)

    if len(cells) > _MOST_CELLS:
        cells = cells[np.linspace(0, len(cells) - 1, _MOST_CELLS).astype(np.int64)]
    distinct = np.unique(cells, axis=0).astype(np.float64)
    if len(distinct) <= N_CENTRES:
        return distinct
    runs = [KMeans(N_CENTRES, n_init=_N_STARTS, random_state=run) for run in range(_N_RUNS)]
    with threadpool_limits(1):  # sums of several threads come in no fixed order
        return np.concatenate([run.fit(distinct).cluster_centers_ for run in runs])


def _unit(row: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(row)
    return row / length if length > 0 else row
