"""All cells within a distance, by looking at each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.log import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from scim.atlas import Atlas

_NEARLY = 1e-5
"""What single precision may be wrong by, with room: cells this near the rim are measured again in double."""

_MISSING = "NA"
_WORDS = {"True": True, "False": False}


def condition_of(filters: Mapping[str, Any], atlas: Atlas, names: Mapping[str, str]) -> str:
    """Return published columns and values as a filter of the atlas.

    `"NA"`, which became a missing value, and `"True"` and `"False"`, which became booleans, are taken as they were.

    Raises
    ------
    KeyError
        There is no such column.
    """
    absent = [name for name in filters if name not in names]
    if absent:
        msg = f"metadata_filter: the published metadata has no column {absent}. Present: {list(names)}."
        raise KeyError(msg)
    return " and ".join(_equals(f"`{names[name]}`", atlas, names[name], value) for name, value in filters.items())


def _equals(word: str, atlas: Atlas, column: str, value: Any) -> str:
    if value is None or value == _MISSING or value != value:
        return f"{word} == None"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and value in _WORDS and atlas.obs([], columns=[column])[column].dtype == "boolean":
        value = _WORDS[value]
    return f"{word} == {value!r}"


def within(
    queries: NDArray[np.float32],
    max_dist: float,
    ids: NDArray[np.int64],
    vectors: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    buffer_size: int,
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float64]]]:
    """Return for each query the ids within a cosine distance, nearest first, and their distances.

    Parameters
    ----------
    queries
        (n, dim) unit rows.
    max_dist
        The distance.
    ids
        Cells to look at.
    vectors
        Gives the unit rows of ids.
    buffer_size
        Cells in memory at a time.
    """
    found: list[list[NDArray[np.int64]]] = [[np.empty(0, dtype=np.int64)] for _ in queries]
    far: list[list[NDArray[np.float64]]] = [[np.empty(0)] for _ in queries]
    with progress(total=len(ids), desc="search", unit="cell") as bar:
        for start in range(0, len(ids), buffer_size):
            some = ids[start : start + buffer_size]
            rows = vectors(some)
            for query, close in enumerate(1 - queries @ rows.T <= max_dist + _NEARLY):
                distances = 1 - rows[close].astype(np.float64) @ queries[query].astype(np.float64)
                inside = distances <= max_dist
                found[query].append(some[close][inside])
                far[query].append(distances[inside])
            bar.update(len(some))
    sorted_ids, sorted_distances = [], []
    for all_ids, all_distances in zip(map(np.concatenate, found), map(np.concatenate, far), strict=True):
        order = np.argsort(all_distances, kind="stable")
        sorted_ids.append(all_ids[order])
        sorted_distances.append(all_distances[order])
    return sorted_ids, sorted_distances
