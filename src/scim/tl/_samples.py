"""Samples of an atlas: which cells are whose, and how many they have."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scim._core.checks import refuse_absent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.atlas import Atlas


class AtlasSamples(NamedTuple):
    """Combinations of values of columns that occur among cells."""

    frame: pd.DataFrame
    """A row for each: its values as text, in columns of their names, and `n_cells`."""

    ids: NDArray[np.int64]
    """(n_cells,) ascending ids of the cells that belong to one."""

    sample: NDArray[np.int64]
    """(n_cells,) row of `frame` of each."""


def samples_of(atlas: Atlas, ids: NDArray[np.int64], names: Sequence[str]) -> AtlasSamples:
    """Return the samples of cells; those that miss a value are in none.

    Raises
    ------
    KeyError
        The atlas has no such column.
    ValueError
        All cells miss a value.
    """
    refuse_absent(names, atlas.columns, of="The atlas")
    rows = atlas.index.obs(ids, names) if atlas.indexes(names) else atlas.obs(ids, columns=names)
    coded = {name: pd.factorize(rows[name], sort=True) for name in names}
    known = np.logical_and.reduce([codes >= 0 for codes, _ in coded.values()])
    if not known.any():
        msg = f"No cell of the atlas that passes has a value in all of {list(names)}."
        raise ValueError(msg)
    flat = np.zeros(int(known.sum()), dtype=np.int64)
    for codes, values in coded.values():
        flat = flat * len(values) + codes[known]
    first, sample, n_cells = np.unique(flat, return_index=True, return_inverse=True, return_counts=True)[1:]
    frame = {}
    for name, (codes, values) in coded.items():
        frame[name] = np.array([str(value) for value in values], dtype=object)[codes[known][first]]
    return AtlasSamples(pd.DataFrame(frame).assign(n_cells=n_cells), ids[known], sample)
