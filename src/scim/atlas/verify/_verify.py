"""Checking an atlas, and mending it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from scim._core.errors import FormatError
from scim._core.log import logger
from scim.atlas._names import load_array
from scim.atlas.commit import FILE, commits, read_manifest
from scim.atlas.soma import COUNTS_PATH, embedding_path, open_experiment
from scim.atlas.storage import Storage
from scim.atlas.verify import _derived, _files, _store
from scim.atlas.verify._problem import Problem, caught
from scim.atlas.verify._repair import mend, restore_manifest

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scim.atlas.commit import Manifest


def verify(uri: str | os.PathLike[str], *, repair: bool = False, timeout: float = 10) -> list[Problem]:
    """Check all of an atlas: every file against its checksum, and its parts against each other.

    Parameters
    ----------
    uri
        Its folder, or `s3://bucket/prefix`.
    repair
        Whether to mend what can be: remove what was never committed, bring back a damaged `atlas.json` from the copy
        of its commit, and make anew what is derived from the store (names, index). A damaged store is not mended: a
        copy of the atlas has it, or an earlier version, or the studies can be removed and appended again.
    timeout
        Seconds to wait for another writer, with `repair`.

    Returns
    -------
    What is wrong; after `repair`, what is still wrong.

    Raises
    ------
    FileNotFoundError
        There is no atlas at `uri`.
    FormatError
        No commit can be read at all.
    LockedError
        With `repair`, another writer is at work.
    """
    storage = Storage.of(uri)
    problems = list(_problems(storage))
    if not repair or not any(problem.mendable for problem in problems):
        return problems
    restore_manifest(storage)
    mend(storage, problems, timeout=timeout)
    left = list(_problems(storage))
    logger.info("mended %d of %d problems", len(problems) - len(left), len(problems))
    return left


def _problems(storage: Storage) -> Iterator[Problem]:
    try:
        manifest = read_manifest(storage)
    except FileNotFoundError:
        if not commits(storage):
            raise
        yield Problem("manifest", FILE, "is missing")
        return
    except FormatError as error:
        if not commits(storage):
            raise
        yield Problem("manifest", FILE, str(error))
        return
    yield from _files.check_commit(storage, manifest)
    yield from _files.check_leftovers(storage, manifest)
    files = functools.partial(_files.check_store_files, storage, manifest)
    yield from caught("ledger", manifest.ledger.name, files)
    ids, problems = _ids(storage, manifest)
    yield from problems
    yield from _contents(storage, manifest, ids)


def _ids(storage: Storage, manifest: Manifest) -> tuple[NDArray[np.int64], list[Problem]]:
    every = np.arange(manifest.n_rows)
    name = "atlas.json" if manifest.removed is None else manifest.removed.name
    problems = list(caught("removed", name, lambda: _derived.check_removed(storage, manifest)))
    if problems or manifest.removed is None:
        return every, problems
    return np.delete(every, load_array(storage, manifest.removed)), []


def _contents(storage: Storage, manifest: Manifest, ids: NDArray[np.int64]) -> Iterator[Problem]:
    """Check what is in the store and what is derived from it."""
    spaces = [manifest.space] if manifest.draft is None else [manifest.space, manifest.draft]
    for space in spaces:
        model = functools.partial(_derived.check_model, storage, manifest.uid, space)
        yield from caught("model", space.folder or "model", model)
        files = functools.partial(_derived.check_index_files, storage, manifest.uid, space)
        yield from caught("index", "index", files)
    try:
        experiment = open_experiment(storage, at=manifest.timestamp)
    except FormatError as error:
        yield Problem("store", "soma", " ".join(str(error).split()))
        return
    with experiment:
        obs = functools.partial(_store.check_obs, experiment, manifest, ids)
        yield from caught("store", "soma/obs", obs)
        counts = functools.partial(_store.check_counts, experiment, manifest, ids)
        yield from caught("store", f"soma/{COUNTS_PATH}", counts)
        names = functools.partial(_derived.check_names, storage, experiment, manifest)
        yield from caught("names", "names", names)
        for space in spaces:
            embedding = functools.partial(_store.check_embedding, experiment, space, ids)
            yield from caught("store", f"soma/{embedding_path(space.embedding)}", embedding)
            index = functools.partial(_derived.check_index, storage, experiment, manifest, space, ids)
            yield from caught("index", "index", index)
