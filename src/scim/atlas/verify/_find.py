"""Finding all that is wrong: files first, then what whole files say."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scim._core.errors import FormatError
from scim.atlas.commit import SOMA, Ledger, load_array
from scim.atlas.soma import COUNTS_PATH, VAR_PATH, embedding_path, open_experiment, tiledb_errors
from scim.atlas.verify import _derived, _files, _store
from scim.atlas.verify._earlier import arrays_of, check_earlier
from scim.atlas.verify._folders import check_model, check_part
from scim.atlas.verify._index import check_index
from scim.atlas.verify._problem import Problem, caught, said

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from scim.atlas.commit import Manifest, Space
    from scim.atlas.storage import Storage


class Found(NamedTuple):
    """The state of an atlas and what is wrong with it."""

    manifest: Manifest | None
    """`None`: it cannot be read, and nothing else was looked at."""

    problems: list[Problem]


def find(storage: Storage) -> Found:
    """Check everything."""
    manifest, problems = _files.check_manifest(storage)
    if manifest is None:
        return Found(None, problems)
    problems += _files.check_leftovers(storage, manifest)
    ledger, lost = _files.known_files(storage, manifest)
    problems += lost
    problems += caught("store", SOMA, lambda: _files.check_files(storage, manifest, ledger, whole=not lost))
    problems += _beside(storage, manifest, problems)
    problems += _contents(storage, manifest, problems)
    problems += check_earlier(storage, manifest, _known(manifest, ledger))
    return Found(manifest, problems)


def spaces_of(manifest: Manifest) -> list[Space]:
    """Return the published space, and the draft if there is one."""
    return [space for space in (manifest.space, manifest.draft) if space is not None]


def damaged(problems: Sequence[Problem], where: str) -> bool:
    """Say whether a file in a folder, or what it is about, has a problem."""
    return any(f"{problem.where}/".startswith(f"{where}/") for problem in problems)


def _known(manifest: Manifest, ledger: Ledger) -> set[str]:
    parts = [part for space in spaces_of(manifest) if space.index is not None for part in space.index.parts]
    return {*ledger, *(entry.name for entry in arrays_of(manifest)), *(part.folder for part in parts)}


def _beside(storage: Storage, manifest: Manifest, problems: Sequence[Problem]) -> Iterator[Problem]:
    """Check what is beside the store, each file by itself."""
    for entry in manifest.names:
        yield from caught("names", entry.name, partial(_derived.check_array, storage, "names", entry))
    if manifest.removed is not None:
        removed = partial(_derived.check_array, storage, "removed", manifest.removed)
        yield from caught("removed", manifest.removed.name, removed)
    for entry in {counted.panel.name: counted.panel for counted in manifest.counted}.values():
        yield from caught("store", entry.name, partial(_derived.check_array, storage, "store", entry))
    for space in spaces_of(manifest):
        if space.folder is not None and not damaged(problems, space.folder):
            yield from caught("model", space.folder, partial(check_model, storage, manifest.uid, space))
        for part in () if space.index is None else space.index.parts:
            yield from caught("index", part.folder, partial(check_part, storage, part))


def _contents(storage: Storage, manifest: Manifest, problems: Sequence[Problem]) -> Iterator[Problem]:
    """Check what is in those arrays whose files are whole."""
    spaces = spaces_of(manifest)
    arrays = ["obs", VAR_PATH, COUNTS_PATH, *(embedding_path(space.embedding) for space in spaces)]
    whole = {array: not damaged(problems, f"{SOMA}/{array}") for array in arrays}
    if any(problem.where.startswith(f"{SOMA}/") for problem in problems if not _is_of(problem, arrays)):
        return  # what says which arrays there are
    try:
        experiment = open_experiment(storage, at=manifest.timestamp)
    except tiledb_errors(FormatError, LookupError) as error:
        yield Problem("store", SOMA, said(error))
        return
    with experiment:
        rows: list[_store.Rows] = []
        if whole["obs"]:
            found = list(caught("store", f"{SOMA}/obs", partial(_obs, experiment, manifest, rows)))
            whole["obs"] = not found
            yield from found
        if rows and whole["obs"]:
            yield from _of_obs(storage, manifest, rows[0], problems)
        ids = rows[0].ids if rows and whole["obs"] else _committed_ids(storage, manifest)
        yield from _counts(storage, experiment, manifest, ids, whole)
        for space in spaces:
            yield from _space(storage, experiment, manifest, space, ids, whole, problems)


def _is_of(problem: Problem, arrays: Sequence[str]) -> bool:
    leftover = problem.part in ("leftover", "earlier version")
    return leftover or any(damaged([problem], f"{SOMA}/{array}") for array in arrays)


def _obs(experiment: Any, manifest: Manifest, rows: list[_store.Rows]) -> Iterator[Problem]:
    rows.append(_store.scan_obs(experiment, manifest.n_rows))
    yield from _store.check_obs(experiment, rows[0], manifest)


def _of_obs(storage: Storage, manifest: Manifest, rows: _store.Rows, problems: Sequence[Problem]) -> Iterator[Problem]:
    if not any(problem.part == "removed" for problem in problems):
        yield from caught("removed", "removed", partial(_derived.check_removed, storage, manifest, rows))
    if not any(problem.part == "names" for problem in problems):
        yield from caught("names", "names", partial(_derived.check_names, storage, manifest, rows))


def _committed_ids(storage: Storage, manifest: Manifest) -> NDArray[np.int64]:
    """Return the ids as the manifest knows them, when obs cannot be asked."""
    every = np.arange(manifest.n_rows)
    try:
        return every if manifest.removed is None else np.delete(every, load_array(storage, manifest.removed))
    except (ValueError, OSError, IndexError):
        return every


def _counts(
    storage: Storage, experiment: Any, manifest: Manifest, ids: NDArray[np.int64], whole: dict[str, bool]
) -> Iterator[Problem]:
    if whole[VAR_PATH]:
        genes = partial(_store.check_genes, storage, experiment, manifest)
        yield from caught("store", f"{SOMA}/{VAR_PATH}", genes)
    if manifest.counted and whole[COUNTS_PATH]:
        counts = partial(_store.check_counts, experiment, manifest, ids)
        yield from caught("store", f"{SOMA}/{COUNTS_PATH}", counts)


def _space(
    storage: Storage,
    experiment: Any,
    manifest: Manifest,
    space: Space,
    ids: NDArray[np.int64],
    whole: dict[str, bool],
    problems: Sequence[Problem],
) -> Iterator[Problem]:
    path = embedding_path(space.embedding)
    if not whole[path]:
        return
    wrong = list(caught("store", f"{SOMA}/{path}", partial(_store.check_embedding, experiment, space, ids)))
    yield from wrong
    if space.index is None or wrong or any(damaged(problems, part.folder) for part in space.index.parts):
        return
    index = partial(check_index, storage, experiment, manifest, space, ids, columns=whole["obs"])
    yield from caught("index", space.index.parts[0].folder, index)
