"""What an index answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Neighbors(NamedTuple):
    """The nearest rows of each query, nearest first.

    Attributes
    ----------
    distances
        float32 (n, k): cosine distances, ascending; `inf` where there are fewer than k answers.
    ids
        int64 (n, k): ids of the rows; -1 where there are fewer than k answers.
    """

    distances: NDArray[np.float32]
    ids: NDArray[np.int64]


class Within(NamedTuple):
    """The rows within a distance of each query; those of query i are at `starts[i] : starts[i + 1]`, nearest first.

    Attributes
    ----------
    distances
        float32 (n_answers,): cosine distances.
    ids
        int64 (n_answers,): ids of the rows.
    starts
        int64 (n + 1,): where the answers of each query start.
    """

    distances: NDArray[np.float32]
    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
