"""Mending what is derived from the store, and undoing what was never committed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import keys
from scim._core.errors import FormatError
from scim._core.log import logger
from scim.atlas._build import build_entry
from scim.atlas._names import hash_names, store_array, write_names
from scim.atlas.commit import FILE, Transaction, commit_file, commits, read_manifest
from scim.atlas.soma import damage_named, open_experiment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scim.atlas.commit import Manifest, Space
    from scim.atlas.storage import Storage
    from scim.atlas.verify._problem import Problem


def restore_manifest(storage: Storage) -> None:
    """Bring back a damaged `atlas.json` from the newest commit that can be read, or the copy of the commit from it.

    Raises
    ------
    FormatError
        None can be read.
    """
    try:
        manifest = read_manifest(storage)
    except (FormatError, FileNotFoundError):
        for number in reversed(commits(storage)):
            try:
                read_manifest(storage, commit_file(number))
            except FormatError:
                continue
            storage.write(FILE, storage.read(commit_file(number)))
            logger.warning("brought back %s of version %d", FILE, number)
            return
        msg = f"No commit of the atlas at {storage.uri!r} can be read; restore it from a copy."
        raise FormatError(msg) from None
    if not storage.exists(commit_file(manifest.number)) or storage.read(commit_file(manifest.number)) != storage.read(
        FILE
    ):
        storage.write(commit_file(manifest.number), storage.read(FILE))


def mend(storage: Storage, problems: Sequence[Problem], *, timeout: float) -> None:
    """Commit a state without the problems that can be mended."""
    broken = {problem.part for problem in problems if problem.mendable}
    foreign = [problem.where for problem in problems if problem.part == "foreign"]
    with Transaction(storage, "repair", timeout=timeout) as transaction:  # its start undoes what was never committed
        manifest, changes = transaction.manifest, dict[str, Any]()
        storage.delete(foreign)
        if broken & {"names", "removed"}:
            changes |= _names_and_removed(transaction)
        if "index" in broken:
            with_removed = replace(manifest, **changes)
            changes["space"] = _indexed(transaction, with_removed, manifest.space)
        if changes or "ledger" in broken:
            transaction.commit(fresh_ledger="ledger" in broken, **changes)


def _names_and_removed(transaction: Transaction) -> dict[str, Any]:
    """Make anew what obs says: names, and which ids are gone."""
    storage, manifest = transaction.storage, transaction.manifest
    names = [keys.ATLAS_STUDY, keys.ATLAS_CELL_ID]
    with damage_named(storage), open_experiment(storage, at=manifest.timestamp) as experiment:
        frame = experiment.obs.read(column_names=["soma_joinid", *names]).concat().to_pandas()
    ids = frame["soma_joinid"].to_numpy()
    gone = np.setdiff1d(np.arange(manifest.n_rows), ids)
    number = transaction.number
    return {
        "names": (write_names(storage, hash_names(frame), ids.astype(np.uint64), number),),
        "removed": store_array(storage, f"removed/{number:06d}.npy", gone) if len(gone) else None,
        "n_obs": len(ids),
    }


def _indexed(transaction: Transaction, manifest: Manifest, space: Space) -> Space:
    if space.index is None:
        return space
    built = build_entry(transaction, space)
    return replace(space, index=built)
