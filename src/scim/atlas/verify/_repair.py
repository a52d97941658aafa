"""Mending what is derived from the store, and undoing what was never committed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.errors import FormatError
from scim._core.log import logger
from scim.atlas._build import build_entry
from scim.atlas._names import write_names
from scim.atlas._parts import build_part, cells_of
from scim.atlas.commit import (
    FILE,
    SOMA,
    Transaction,
    commit_file,
    commits,
    is_older_copy,
    needed_files,
    read_ledger,
    read_manifest,
    roll_back,
    store_array,
)
from scim.atlas.soma import Guard, damage_named, embedding_path, open_experiment
from scim.atlas.storage import Lock
from scim.atlas.verify._find import damaged, spaces_of
from scim.atlas.verify._folders import how_built
from scim.atlas.verify._put_back import put_back
from scim.atlas.verify._store import scan_obs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scim.atlas.commit import IndexPart, Manifest, Space
    from scim.atlas.storage import Storage
    from scim.atlas.verify._find import Found
    from scim.atlas.verify._problem import Problem


def mend(storage: Storage, found: Found, *, timeout: float) -> bool:
    """Take a step towards a state without the problems that can be mended; return whether to look again."""
    try:
        if any(problem.part == "manifest" for problem in found.problems):
            with Lock(storage, "repair", timeout):
                _restore_manifest(storage)
            return True
        with Transaction(storage, "repair", timeout=timeout) as transaction:
            if transaction.manifest == found.manifest:
                _mend(transaction, found.problems)
    except FormatError as error:
        if found.manifest is None:
            raise
        logger.warning("not all could be mended: %s", error)
        return False
    return True


def _restore_manifest(storage: Storage) -> None:
    """Make `atlas.json` and the copy of its commit the same: the newest that can be read."""
    last = max(commits(storage))
    try:
        current: Manifest | None = read_manifest(storage)
    except (FormatError, FileNotFoundError):
        current = None
    if current is not None and not is_older_copy(storage, current):
        last = current.number
    kept = _whole_commit(storage, last)
    if kept is not None and kept != current:
        storage.write(FILE, storage.read(commit_file(last)))
        logger.warning("brought back %s of version %d", FILE, last)
    elif kept is None and current is not None and current.number == last:
        storage.write(commit_file(last), storage.read(FILE))
    elif kept is None:
        msg = (
            f"Neither {FILE} nor {commit_file(last)} of the atlas at {storage.uri!r} can be read; put one of them back "
            f"from a copy. An earlier version is brought back by copying its file over {FILE} and deleting later ones."
        )
        raise FormatError(msg)


def _whole_commit(storage: Storage, number: int) -> Manifest | None:
    try:
        return read_manifest(storage, commit_file(number))
    except (FormatError, FileNotFoundError):
        return None


def _mend(transaction: Transaction, problems: Sequence[Problem]) -> None:
    """Commit a state without some of the problems."""
    storage, manifest = transaction.storage, transaction.manifest
    roll_back(storage, manifest.timestamp, manifest.number)
    broken = {problem.part for problem in problems}
    if put_back(storage, manifest, problems) or "ledger" in broken:
        return  # without a ledger, which tells damage, nothing is built on what is there
    if "foreign" in broken:
        _drop_foreign(storage, manifest)
        return
    sound = not damaged([problem for problem in problems if problem.part == "store"], f"{SOMA}/obs")
    if broken & {"names", "removed"} and sound:
        transaction.commit(**_names_and_removed(transaction))
    elif "index" in broken and sound:
        _mend_index(transaction, problems)


def _drop_foreign(storage: Storage, manifest: Manifest) -> None:
    ledger = read_ledger(storage, manifest.ledger)
    there = [file.name for file in needed_files(storage, manifest) if file.name.startswith(f"{SOMA}/")]
    storage.delete(name for name in there if name not in ledger)


def _names_and_removed(transaction: Transaction) -> dict[str, Any]:
    """Make anew what obs says: names, and which ids are gone."""
    storage, manifest, number = transaction.storage, transaction.manifest, transaction.number
    Guard(storage, manifest).check("obs")
    with damage_named(storage), open_experiment(storage, at=manifest.timestamp) as experiment:
        rows = scan_obs(experiment, manifest.n_rows)
    gone = np.setdiff1d(np.arange(manifest.n_rows), rows.ids)
    return {
        "names": (write_names(storage, rows.hashes, rows.ids.astype(np.uint64), number),),
        "removed": store_array(storage, f"removed/{number:06d}.npy", gone) if len(gone) else None,
    }


def _mend_index(transaction: Transaction, problems: Sequence[Problem]) -> None:
    """Build the first part again that has a problem; a commit has room for one."""
    for name, space in zip(("space", "draft"), spaces_of(transaction.manifest), strict=False):
        store = [problem for problem in problems if problem.part == "store"]
        if space.index is None or damaged(store, f"{SOMA}/{embedding_path(space.embedding)}"):
            continue
        for place, part in enumerate(space.index.parts):
            if damaged([problem for problem in problems if problem.part == "index"], part.folder):
                transaction.commit(**{name: _rebuilt(transaction, space, place)})
                return


def _rebuilt(transaction: Transaction, space: Space, place: int) -> Space:
    """Return a space with a part of its index built anew, as it was built before."""
    storage, manifest, entry = transaction.storage, transaction.manifest, space.index
    assert entry is not None
    part = entry.parts[place]
    kind, recall = how_built(storage, part)
    how: Any = {"kind": kind, "recall": recall}
    guard = Guard(storage, manifest)
    guard.check("obs", later_columns=True)
    guard.check(embedding_path(space.embedding))
    new: list[IndexPart] = []
    with (
        damage_named(storage),
        open_experiment(storage, at=manifest.timestamp) as experiment,
        cells_of(storage, experiment, space, part.start, part.stop) as cells,
    ):
        if len(cells.ids):
            new.append(build_part(storage, cells, part.start, part.stop, transaction.number, **how)[0])
    if not new:  # all of its cells are gone: the others are built together
        return replace(space, index=build_entry(transaction, space, **how, measured=entry))
    return replace(space, index=replace(entry, parts=(*entry.parts[:place], *new, *entry.parts[place + 1 :])))
