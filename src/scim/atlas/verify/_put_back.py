"""Making lost files again as they were: a checksum says whether that is so, and nothing needs to be committed."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scim import index as knn
from scim._core.errors import FormatError
from scim._core.log import logger
from scim.atlas._names import sorted_names
from scim.atlas._parts import cells_of
from scim.atlas.commit import commit_file, commits, read_manifest, restore_array, restore_ledger
from scim.atlas.soma import open_experiment, tiledb_errors
from scim.atlas.verify._folders import how_built
from scim.atlas.verify._store import scan_obs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scim.atlas.commit import IndexPart, Manifest, Space, StoredArray
    from scim.atlas.storage import Storage
    from scim.atlas.verify._problem import Problem


def put_back(storage: Storage, manifest: Manifest, problems: Sequence[Problem]) -> bool:
    """Make what is broken again as it was in the version that wrote it; return whether anything is mended."""
    broken = {problem.where for problem in problems if problem.mendable}
    broken |= {name.rpartition("/")[0] for name in broken}
    mended = False
    now = {name: digest for name, (digest, _) in _ways(storage, manifest).items()}
    for version in [*_earlier(storage, manifest), manifest]:  # the first that has a file is the one that wrote it
        for name, (digest, make) in _ways(storage, version).items():
            if name in broken and now.get(name, digest) == digest:
                broken.discard(name)
                mended |= _tried(name, make)
    return mended


def _earlier(storage: Storage, manifest: Manifest) -> list[Manifest]:
    found = []
    for number in commits(storage):
        try:
            found += [read_manifest(storage, commit_file(number))] if number < manifest.number else []
        except FormatError:
            continue
    return found


def _ways(storage: Storage, version: Manifest) -> dict[str, tuple[str, Callable[[], bool]]]:
    """Return checksum, and how to make it, of each file or folder that a version has."""
    ledger, removed = version.ledger, version.removed
    ways: dict[str, tuple[str, Callable[[], bool]]] = {
        ledger.name: (ledger.sha256, partial(restore_ledger, storage, version))
    }
    if removed is not None:
        ways[removed.name] = (removed.sha256, partial(_removed, storage, version, removed))
    for names in version.names[-1:]:  # the part that was written last has the last ids
        ways[names.name] = (names.sha256, partial(_names, storage, version, names))
    for space in (space for space in (version.space, version.draft) if space is not None):
        for part in () if space.index is None else space.index.parts:
            ways[part.folder] = (part.digest, partial(_part, storage, version, space, part))
    return ways


def _tried(name: str, make: Callable[[], bool]) -> bool:
    try:
        same = make()
    except tiledb_errors(OSError, ValueError) as error:  # what it is made of is damaged too
        logger.warning("%s cannot be made again: %s", name, error)
        return False
    if same:
        logger.warning("made %s again, as it was", name)
    return same


def _removed(storage: Storage, version: Manifest, entry: StoredArray) -> bool:
    with open_experiment(storage, at=version.timestamp) as experiment:
        ids = scan_obs(experiment, version.n_rows).ids
    return restore_array(storage, entry, np.setdiff1d(np.arange(version.n_rows), ids))


def _names(storage: Storage, version: Manifest, entry: StoredArray) -> bool:
    with open_experiment(storage, at=version.timestamp) as experiment:
        rows = scan_obs(experiment, version.n_rows)
    ids = rows.ids[-entry.n :].astype(np.uint64)
    return restore_array(storage, entry, sorted_names(rows.hashes[-entry.n :], ids))


def _part(storage: Storage, version: Manifest, space: Space, part: IndexPart) -> bool:
    """Build a part of the index beside its place; the header that comes out says whether it is the same."""
    kind, recall = how_built(storage, part)
    how: dict[str, Any] = {"recall": recall} if kind in ("auto", "ivf") else {}
    with (
        tempfile.TemporaryDirectory() as room,
        open_experiment(storage, at=version.timestamp) as experiment,
        cells_of(storage, experiment, space, part.start, part.stop) as cells,
    ):
        to = Path(room) / "index"
        knn.build(cells.embeddings, cells.ids, obs=cells.columns, kind=kind, path=to, rng=0, **how)  # type: ignore[arg-type]  # one that `how_built` knows
        same = knn.header_digest(to) == part.digest
        if same:
            storage.delete_folder(part.folder)
            storage.upload(to, part.folder)
        return same
