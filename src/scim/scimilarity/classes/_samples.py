"""How many of the hits are in which sample, and how many cells that has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scim._core.checks import check_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from scim.scimilarity.classes._metadata import Metadata

SAMPLE = ["study", "sample"]


def sample_sizes(metadata: Metadata, ids: NDArray[np.int64]) -> pd.DataFrame:
    """Return the number of cells of each sample: `study`, `sample`, `total`."""
    frame = metadata.categories(ids, SAMPLE)
    sizes = frame.groupby(SAMPLE, observed=True, dropna=False, sort=False).size().reset_index(name="total")
    return sizes.astype(dict.fromkeys(SAMPLE, object))


def sample_summary(
    metadata: Metadata, hits: Iterable[NDArray[np.int64]], levels: Sequence[str], sizes: pd.DataFrame
) -> pd.DataFrame:
    """Return for each query a row for each combination of values among its hits.

    Parameters
    ----------
    metadata
        Of the cells.
    hits
        Ids of the hits of each query.
    levels
        Published columns.
    sizes
        From :func:`sample_sizes`.

    Returns
    -------
    Frame with the levels, `cells`, and, if study and sample are among the levels, `fraction` and `total`. Missing
    values are a value of their own.

    Raises
    ------
    KeyError
        There is no such column.
    ValueError
        There is no query.
    """
    names = check_names("levels", levels)
    parts = [metadata.categories(ids, names).astype(object) for ids in hits]
    if not parts:
        msg = "Expected the hits of at least one query, got none."
        raise ValueError(msg)
    found = pd.concat(
        [part.groupby(names, observed=True, dropna=False).size().reset_index(name="cells") for part in parts],
        ignore_index=True,
    )
    if not set(SAMPLE) <= set(names):
        return found
    total = found[SAMPLE].astype(object).merge(sizes, on=SAMPLE, how="left")["total"].to_numpy()
    return found.assign(fraction=found["cells"] / total, total=total)
