"""Building the index of all cells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.types import is_bool_dtype

from scim._core import keys
from scim.atlas._labels import elect
from scim.atlas._parts import build_part, cells_of
from scim.atlas._reach import measure_reach
from scim.atlas.commit import IndexEntry
from scim.atlas.soma import Guard, damage_named, embedding_path, open_experiment, read_obs

if TYPE_CHECKING:
    from scim._core.types import IndexKind
    from scim.atlas._parts import Cells
    from scim.atlas.commit import Space, Transaction


def build_entry(
    transaction: Transaction,
    space: Space,
    *,
    kind: IndexKind = "auto",
    recall: float = 0.99,
    seed: int = 0,
    measured: IndexEntry | None = None,
) -> IndexEntry:
    """Build the index of a space over all cells that are in the store by now; one part.

    What an index of the same cells has measured stays, so that writing them anew changes no answer; without one, reach
    and confidence are measured.
    """
    storage, stop = transaction.storage, transaction.manifest.n_rows
    guard = Guard(storage, transaction.manifest)  # an index of what is damaged would answer instead of it
    guard.check("obs", later_columns=True)
    guard.check(embedding_path(space.embedding))
    with (
        damage_named(storage),
        open_experiment(storage, at=transaction.tick()) as experiment,
        cells_of(storage, experiment, space, 0, stop) as cells,
    ):
        part, built = build_part(storage, cells, 0, stop, transaction.number, kind=kind, recall=recall, seed=seed)
        if measured is not None:
            return replace(measured, parts=(part,), kind=kind, recall=recall)
        frame = _named(cells, experiment)
        reach = measure_reach(built, cells, frame, seed)
        electorate = elect(built, frame, stop, keys.ATLAS_LABEL, seed=seed)
        return IndexEntry((part,), reach, kind, recall, None if electorate is None else electorate.confidence)


def _named(cells: Cells, experiment: Any) -> pd.DataFrame:
    """Return study and label of the cells, as categoricals by id."""
    names = [keys.ATLAS_STUDY, keys.ATLAS_LABEL, keys.ATLAS_LABEL_ID]
    if keys.ATLAS_PRIMARY in cells.columns and is_bool_dtype(cells.columns[keys.ATLAS_PRIMARY].dtype):
        names.append(keys.ATLAS_PRIMARY)
    if set(names) <= set(cells.columns):
        return pd.DataFrame({name: cells.columns[name] for name in names}, index=cells.ids)
    return read_obs(experiment, cells.ids, names).astype("category")
