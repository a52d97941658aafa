"""Check an atlas, and repair what is not data or can be rebuilt from data."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from scim import index as knn
from scim._core import FormatError, logger
from scim.atlas._index import build_entry, build_part, cells_of
from scim.atlas._names import sorted_names, write_names
from scim.atlas.commit import (
    FILE,
    SOMA,
    Transaction,
    commit_file,
    commits,
    is_older_copy,
    needed_files,
    read_inventory,
    read_manifest,
    restore_array,
    restore_inventory,
    roll_back,
    store_array,
)
from scim.atlas.soma import IntegrityChecker, embedding_path, named_damage, open_experiment, tiledb_errors
from scim.atlas.storage import Lock, Storage, is_ours
from scim.atlas.verify._contents import Rows, check_contents, scan_obs
from scim.atlas.verify._files import (
    check_beside,
    check_earlier,
    check_files,
    check_leftovers,
    check_manifest,
    how_built,
    known_files,
    names_of,
)
from scim.atlas.verify._problem import Problem, is_damaged, run_check
from scim.index._files import header_digest

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from scim.atlas.commit import EmbeddingVersion, IndexPart, Manifest, StoredArray

_MAX_REPAIRS = 30
"""Steps of a repair at most; each commits one change."""


def verify(uri: str | os.PathLike[str], *, repair: bool = False, timeout: float = 10) -> list[Problem]:
    """Check all of an atlas: every file against its checksum, and its parts against each other.

    Parameters
    ----------
    uri
        Its folder, or `s3://bucket/prefix`.
    repair
        Whether to repair what can be: remove what was never committed, restore a damaged `atlas.json` from the copy
        of its commit, rebuild derived data (names, index) from the store, and leave out damaged samples of counts. A
        damaged store is not repaired: a copy of the atlas has it, or an earlier version, or the studies can be removed
        and appended again.
    timeout
        Seconds to wait for another writer, with `repair`.

    Returns
    -------
    The problems; after `repair`, those that remain.

    Raises
    ------
    FileNotFoundError
        There is no atlas at `uri`.
    FormatError
        No commit can be read at all, or there is a link, a pipe or a device in the folder.
    LockedError
        With `repair`, another writer is at work.
    """
    storage = Storage.of(uri)
    manifest, problems = _find_problems(storage)
    n_before = len(problems)
    # A repair may reveal other problems, and parts of an index are rebuilt one after the other.
    for _ in range(_MAX_REPAIRS if repair else 0):
        repairable = any(problem.repairable for problem in problems)
        if not repairable or not _repair(storage, manifest, problems, timeout=timeout):
            break
        before = problems
        manifest, problems = _find_problems(storage)
        if problems == before:
            break
    if repair and n_before:
        logger.info("repaired %d of %d problems", n_before - len(problems), n_before)
    return problems


def _find_problems(storage: Storage) -> tuple[Manifest | None, list[Problem]]:
    """Check everything; `None`: the manifest cannot be read, and nothing else was checked."""
    storage.check_files()
    manifest, problems = check_manifest(storage)
    if manifest is None:
        return None, problems
    problems += check_leftovers(storage, manifest)
    inventory, lost = known_files(storage, manifest)
    problems += lost
    problems += run_check("store", SOMA, partial(check_files, complete=not lost), storage, manifest, inventory)
    problems += check_beside(storage, manifest, problems)
    problems += check_contents(storage, manifest, problems)
    problems += check_earlier(storage, manifest, names_of(manifest, inventory))
    return manifest, problems


def _repair(storage: Storage, manifest: Manifest | None, problems: Sequence[Problem], *, timeout: float) -> bool:
    """Take a step towards a state without the repairable problems; return whether to check again."""
    try:
        if any(problem.part == "manifest" for problem in problems):
            with Lock(storage, "repair", timeout):
                _restore_manifest(storage)
            return True
        with Transaction(storage, "repair", timeout=timeout) as transaction:
            if transaction.manifest == manifest:
                _repair_contents(transaction, problems)
    except FormatError as error:
        if manifest is None:
            raise
        logger.warning("not all could be repaired: %s", error)
        return False
    return True


def _restore_manifest(storage: Storage) -> None:
    """Make `atlas.json` and the copy of its commit equal: the newest that can be read."""
    last, current = max(commits(storage)), _read_if_whole(storage, FILE)
    if current is not None and not is_older_copy(storage, current):
        last = current.number
    kept = _read_if_whole(storage, commit_file(last))
    if kept is not None and kept != current:
        storage.write(FILE, storage.read(commit_file(last)))
        logger.warning("restored %s of version %d", FILE, last)
    elif kept is None and current is not None and current.number == last:
        storage.write(commit_file(last), storage.read(FILE))
    elif kept is None:
        msg = (
            f"Neither {FILE} nor {commit_file(last)} of the atlas at {storage.uri!r} can be read; put one of them back "
            f"from a copy. An earlier version is restored by copying its file over {FILE} and deleting later ones."
        )
        raise FormatError(msg)


def _read_if_whole(storage: Storage, name: str) -> Manifest | None:
    try:
        return read_manifest(storage, name)
    except (FormatError, FileNotFoundError):
        return None


def _repair_contents(transaction: Transaction, problems: Sequence[Problem]) -> None:
    """Commit a state without some of the problems."""
    storage, manifest = transaction.storage, transaction.manifest
    roll_back(storage, manifest.timestamp, manifest.number)
    broken = {problem.part for problem in problems}
    if _restore_files(storage, manifest, problems) or "inventory" in broken:
        return  # without an inventory, which shows damage, nothing is rebuilt from the store
    of_store = [problem for problem in problems if problem.part == "store"]
    sound = not is_damaged(of_store, f"{SOMA}/obs")
    if "foreign" in broken:
        inventory = read_inventory(storage, manifest.inventory)
        names = [file.name for file in needed_files(storage, manifest) if file.name.startswith(f"{SOMA}/")]
        storage.delete(name for name in names if name not in inventory and is_ours(name))
    elif broken & {"names", "removed"} and sound:
        transaction.commit(**_names_and_removed(transaction))
    elif "samples" in broken:
        damaged = {problem.where for problem in problems if problem.part == "samples"}
        transaction.commit(samples=tuple(entry for entry in manifest.samples if entry.name not in damaged))
    elif "index" in broken and sound:
        _repair_index(transaction, problems)


def _names_and_removed(transaction: Transaction) -> dict[str, Any]:
    """Return names and removed ids, rebuilt from obs."""
    storage, manifest, number = transaction.storage, transaction.manifest, transaction.number
    IntegrityChecker(storage, manifest).check("obs")
    rows = _scan(storage, manifest)
    gone = np.setdiff1d(np.arange(manifest.n_rows), rows.ids)
    return {
        "names": (write_names(storage, rows.hashes, rows.ids.astype(np.uint64), number),),
        "removed": store_array(storage, f"removed/{number:06d}.npy", gone) if len(gone) else None,
    }


def _scan(storage: Storage, version: Manifest) -> Rows:
    with named_damage(storage), open_experiment(storage, at=version.timestamp, n_rows=version.n_rows) as experiment:
        return scan_obs(experiment, version.n_rows)


def _repair_index(transaction: Transaction, problems: Sequence[Problem]) -> None:
    """Rebuild the first part with a problem; a commit rebuilds one."""
    manifest = transaction.manifest
    of_store = [problem for problem in problems if problem.part == "store"]
    of_index = [problem for problem in problems if problem.part == "index"]
    for name, version in (("published", manifest.published), ("draft", manifest.draft)):
        if version is None or is_damaged(of_store, f"{SOMA}/{embedding_path(version.name)}"):
            continue
        if version.index is not None and version.expression and is_damaged(of_index, version.expression.name):
            # Measured again with its index: the calibration must fit it.
            index = build_entry(transaction, version, kind=version.index.kind, recall=version.index.recall)
            transaction.commit(**{name: replace(version, index=index)})
            return
        for i, part in enumerate(version.parts):
            if is_damaged(of_index, part.folder):
                transaction.commit(**{name: _with_rebuilt_part(transaction, version, i)})
                return


def _with_rebuilt_part(transaction: Transaction, version: EmbeddingVersion, position: int) -> EmbeddingVersion:
    """Return an embedding version with a part of its index rebuilt, of the same kind and recall."""
    storage, manifest, entry = transaction.storage, transaction.manifest, version.index
    assert entry is not None
    part = entry.parts[position]
    kind, recall = how_built(storage, part)
    how: Any = {"kind": kind, "recall": recall}
    checker = IntegrityChecker(storage, manifest)
    checker.check("obs", later_columns=True)
    checker.check(embedding_path(version.name))
    parts = list(entry.parts)
    with (
        named_damage(storage),
        open_experiment(storage, at=manifest.timestamp) as experiment,
        cells_of(storage, experiment, version, part.start, part.stop) as cells,
    ):
        if has_cells := len(cells.ids) > 0:
            parts[position] = build_part(storage, cells, part.start, part.stop, transaction.number, **how)[0]
    if not has_cells:  # all of its cells are removed: the other parts are built together
        return replace(version, index=build_entry(transaction, version, **how, measured=entry))
    return replace(version, index=replace(entry, parts=tuple(parts)))


def _restore_files(storage: Storage, manifest: Manifest, problems: Sequence[Problem]) -> bool:
    """Write damaged files again as the version that wrote them did; return whether a checksum shows success."""
    broken = {problem.where for problem in problems if problem.repairable}
    broken |= {name.rpartition("/")[0] for name in broken}
    restored = False
    now = {name: checksum for name, (checksum, _) in _restorers(storage, manifest).items()}
    earlier = [_read_if_whole(storage, commit_file(number)) for number in commits(storage) if number < manifest.number]
    for version in [*filter(None, earlier), manifest]:  # the first that has a file is the one that wrote it
        for name, (checksum, restore) in _restorers(storage, version).items():
            if name in broken and now.get(name, checksum) == checksum:
                broken.discard(name)
                restored |= _try_to_restore(name, restore)
    return restored


def _restorers(storage: Storage, version: Manifest) -> dict[str, tuple[str, Callable[[], bool]]]:
    """Return the checksum, and a function that writes it again, of each file or folder of a version."""
    removed = version.removed
    restorers: dict[str, tuple[str, Callable[[], bool]]] = {
        version.inventory.name: (version.inventory.sha256, partial(restore_inventory, storage, version))
    }
    if removed is not None:
        restorers[removed.name] = (removed.sha256, partial(_restore_removed, storage, version, removed))
    for names in version.names[-1:]:  # the part that was written last has the last ids
        restorers[names.name] = (names.sha256, partial(_restore_names, storage, version, names))
    for embedding in version.embeddings:
        for part in embedding.parts:
            restorers[part.folder] = (part.digest, partial(_restore_part, storage, version, embedding, part))
    return restorers


def _try_to_restore(name: str, restore: Callable[[], bool]) -> bool:
    try:
        same = restore()
    except tiledb_errors(OSError, ValueError) as error:  # its source is damaged too
        logger.warning("%s cannot be restored: %s", name, error)
        return False
    if same:
        logger.warning("restored %s as it was", name)
    return same


def _restore_removed(storage: Storage, version: Manifest, entry: StoredArray) -> bool:
    return restore_array(storage, entry, np.setdiff1d(np.arange(version.n_rows), _scan(storage, version).ids))


def _restore_names(storage: Storage, version: Manifest, entry: StoredArray) -> bool:
    rows = _scan(storage, version)
    ids = rows.ids[-entry.n :].astype(np.uint64)
    return restore_array(storage, entry, sorted_names(rows.hashes[-entry.n :], ids))


def _restore_part(storage: Storage, version: Manifest, embedding: EmbeddingVersion, part: IndexPart) -> bool:
    """Build a part of the index again; its header shows whether it is the same."""
    kind, recall = how_built(storage, part)
    how: dict[str, Any] = {"recall": recall} if kind in ("auto", "ivf") else {}
    with (
        tempfile.TemporaryDirectory() as temporary,
        open_experiment(storage, at=version.timestamp) as experiment,
        cells_of(
            storage, experiment, embedding, part.start, part.stop, () if part.start else version.empty_columns
        ) as cells,
    ):
        to = Path(temporary) / "index"
        knn.build(cells.embeddings, cells.ids, obs=cells.columns, kind=kind, path=to, rng=0, **how)  # type: ignore[arg-type]  # one that `how_built` knows
        if header_digest(to) != part.digest:
            return False
        storage.delete_folder(part.folder)
        storage.upload(to, part.folder)
        return True
