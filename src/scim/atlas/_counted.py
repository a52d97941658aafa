"""The cells of an atlas whose counts are stored, as training reads them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from scim.atlas.commit import load_array
from scim.atlas.soma import COUNTS, MEASUREMENT
from scim.atlas.source import ExperimentMatrix
from scim.io import Cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from scim.atlas.commit import Counted
    from scim.atlas.storage import Storage


def counted_cells(storage: Storage, experiment: Any, counted: Sequence[Counted], obs: pd.DataFrame) -> list[Cells]:
    """Return the cells in parts of one panel each, over the genes of the panel; counts are read by rows, later.

    Parameters
    ----------
    storage, experiment
        Where they are.
    counted
        Of the manifest.
    obs
        The columns wanted of all cells, indexed by ascending `soma_joinid`.
    """
    var = experiment.ms[MEASUREMENT].var.read().concat().to_pandas().set_index("soma_joinid").sort_index()
    array = experiment.ms[MEASUREMENT].X[COUNTS]
    ids = obs.index.to_numpy()
    parts: dict[str, list[Counted]] = {}
    for cells in counted:
        parts.setdefault(cells.panel.name, []).append(cells)
    found = []
    for same in parts.values():
        panel = load_array(storage, same[0].panel)
        own: NDArray[np.int64] = np.concatenate([ids[cells.among(ids)] for cells in same])
        if own.size:
            rows = obs.loc[own].set_axis(own.astype(str))
            found.append(
                Cells(rows, var.loc[panel].set_index("gene_id"), functools.partial(ExperimentMatrix, array, own, panel))
            )
    return found
