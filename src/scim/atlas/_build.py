"""Building the index of all cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scim.atlas._parts import build_part, cells_of
from scim.atlas._reach import measure_reach
from scim.atlas.commit import IndexEntry
from scim.atlas.soma import Guard, damage_named, embedding_path, open_experiment

if TYPE_CHECKING:
    from scim._core.types import IndexKind
    from scim.atlas.commit import Space, Transaction


def build_entry(
    transaction: Transaction, space: Space, *, kind: IndexKind = "auto", recall: float = 0.99, seed: int = 0
) -> IndexEntry:
    """Build the index of a space over all cells that are in the store by now; one part."""
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
        return IndexEntry((part,), measure_reach(built, cells, experiment, seed), kind, recall)
