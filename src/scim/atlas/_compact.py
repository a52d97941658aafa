"""Writing an atlas anew in place: few large fragments, which at a later time say all that the old ones say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import keys
from scim._core.log import progress
from scim.atlas._build import build_entry
from scim.atlas._names import hash_names, write_names
from scim.atlas.soma import (
    COUNTS_PATH,
    Guard,
    Writer,
    damage_named,
    embedding_path,
    obs_columns,
    open_experiment,
    read_counts,
    read_embeddings,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.atlas.commit import Manifest, Space, Transaction

_OBS_ROWS = 1_048_576
_EMBEDDING_ROWS = 262_144
_COUNT_ROWS = 32_768


def compact(transaction: Transaction, ids: NDArray[np.int64]) -> Manifest:
    """Write the cells of `ids` anew, build their index, and commit."""
    manifest, storage = transaction.manifest, transaction.storage
    if len(ids) == 0:
        msg = f"The atlas at {storage.uri!r} has no cells; there is nothing to compact."
        raise ValueError(msg)
    spaces = [space for space in (manifest.space, manifest.draft) if space is not None]
    guard = Guard(storage, manifest)
    arrays = [
        "obs",
        *(embedding_path(space.embedding) for space in spaces),
        *([COUNTS_PATH] if manifest.counted else []),
    ]
    for array in arrays:
        guard.check(array, later_columns=True)
    writer, base = Writer(transaction), transaction.tick()
    with (
        damage_named(storage),
        open_experiment(storage, at=manifest.timestamp) as experiment,
        progress(total=manifest.n_rows * len(arrays), desc="compact", unit="row") as bar,
    ):
        names = _copy_obs(transaction, writer, experiment, bar)
        for space in spaces:
            _copy_embedding(transaction, writer, experiment, space, ids, bar)
        if manifest.counted:
            _copy_counts(transaction, writer, experiment, bar)
    space, old = manifest.space, manifest.space.index
    if old is not None:
        space = replace(space, index=build_entry(transaction, space, kind=old.kind, recall=old.recall, measured=old))
    hashes, named = (np.concatenate(part) for part in zip(*names, strict=True))
    written = write_names(storage, hashes, named, transaction.number)
    return transaction.commit(space=space, names=(written,), base=base)


def _copy_obs(
    transaction: Transaction, writer: Writer, experiment: Any, bar: Any
) -> list[tuple[NDArray[np.uint64], NDArray[np.uint64]]]:
    """Write obs anew; return hashes of the names and ids."""
    names, n_rows = [], transaction.manifest.n_rows
    for start in range(0, n_rows, _OBS_ROWS):
        stop = min(start + _OBS_ROWS, n_rows)
        table = experiment.obs.read((slice(start, stop - 1),)).concat().sort_by("soma_joinid")
        ids = table["soma_joinid"].to_numpy()
        if len(ids):
            writer.block(ids, obs={name: table[name].combine_chunks() for name in obs_columns(experiment)})
            frame = table.select([keys.ATLAS_STUDY, keys.ATLAS_CELL_ID]).to_pandas()
            names.append((hash_names(frame), ids.astype(np.uint64)))
        transaction.check()
        bar.update(stop - start)
    return names


def _copy_embedding(
    transaction: Transaction, writer: Writer, experiment: Any, space: Space, ids: NDArray[np.int64], bar: Any
) -> None:
    """Write an embedding anew; the rows of removed cells become zero."""
    for start in range(0, space.n_rows, _EMBEDDING_ROWS):
        stop = min(start + _EMBEDDING_ROWS, space.n_rows)
        live = ids[np.searchsorted(ids, start) : np.searchsorted(ids, stop)]
        rows = np.zeros((stop - start, space.dim), dtype=np.float32)
        rows[live - start] = read_embeddings(experiment, space.embedding, live)
        writer.block(np.arange(start, stop), embedding=(space.embedding, rows))
        transaction.check()
        bar.update(stop - start)


def _copy_counts(transaction: Transaction, writer: Writer, experiment: Any, bar: Any) -> None:
    n_rows = transaction.manifest.n_rows
    for start in range(0, n_rows, _COUNT_ROWS):
        stop = min(start + _COUNT_ROWS, n_rows)
        writer.block(np.arange(start, stop), counts=read_counts(experiment, start, stop))
        transaction.check()
        bar.update(stop - start)
