"""The search index of an atlas, in parts: a large one that was built, and small ones of the cells appended since."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scim import index as knn
from scim._core.errors import FormatError
from scim._core.log import logger
from scim.atlas._indexed import columns_to_index
from scim.atlas.commit import IndexPart
from scim.atlas.soma import embedding_path, read_embeddings
from scim.atlas.storage import cached

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scim._core.types import IndexKind
    from scim.atlas.commit import IndexEntry, Space
    from scim.atlas.soma import Guard
    from scim.atlas.storage import Storage

_ROWS = 65_536
_FACTOR = 2
"""A new part takes in those before it, but for the first, that are at most so many times as large."""


@dataclass(frozen=True)
class Cells:
    """Cells that are to be indexed, in the order of their ids."""

    ids: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    """(n, dim), mapped from a file."""

    columns: dict[str, Any]
    """Columns of obs that the index is to keep."""

    elsewhere: tuple[str, ...]
    """Columns that have too many values for that."""


@contextlib.contextmanager
def cells_of(storage: Storage, experiment: Any, space: Space, start: int, stop: int) -> Iterator[Cells]:
    """Yield the cells of a range of ids, their embeddings in a file that is read as memory: they may be many."""
    ids, columns, elsewhere = columns_to_index(experiment, start, stop)
    beside = None if storage.path is None else storage.path / "index"
    if beside is not None:
        beside.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside, prefix=".making-", ignore_cleanup_errors=True) as room:
        file = Path(room) / "embeddings.npy"
        with file.open("wb") as out:  # written to, not mapped: pages that wait for the disk would count as memory
            shape = (len(ids), space.dim)
            np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for first in range(0, len(ids), _ROWS):
                out.write(read_embeddings(experiment, space.embedding, ids[first : first + _ROWS]).tobytes())
        mapped = np.load(file, mmap_mode="r")
        yield Cells(ids, mapped, columns, tuple(elsewhere))
        del mapped


def build_part(
    storage: Storage,
    cells: Cells,
    start: int,
    stop: int,
    number: int,
    *,
    kind: IndexKind = "auto",
    recall: float = 0.99,
    seed: int = 0,
) -> tuple[IndexPart, knn.Index]:
    """Write the index of some cells as the folder of a commit to come, and open it."""
    folder = f"index/v{number:06d}"
    params: dict[str, Any] = {"recall": recall} if kind in ("auto", "ivf") else {}
    with contextlib.ExitStack() as stack:
        if storage.path is None:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "index"
        else:
            path = storage.path / folder
        built = knn.build(
            cells.embeddings, cells.ids, obs=cells.columns, kind=kind, path=path, overwrite=True, rng=seed, **params
        )
        part = IndexPart(folder, start, stop, knn.header_digest(path), cells.elsewhere)
        if storage.path is None:
            storage.upload(path, folder)
    logger.info("built a %s index of %d cells in %s", built.kind, len(cells.ids), folder)
    return part, built


def extend(storage: Storage, experiment: Any, guard: Guard, space: Space, stop: int, number: int) -> IndexEntry | None:
    """Add a part for the cells behind those that the index covers; small parts before it are taken in."""
    entry = space.index
    if entry is None:
        return None
    start, kept = entry.n_rows, list(entry.parts)
    while len(kept) > 1 and kept[-1].stop - kept[-1].start <= _FACTOR * (stop - start):
        start = kept.pop().start
    if start < entry.n_rows:  # cells of earlier commits are read again
        guard.check("obs", later_columns=True)
        guard.check(embedding_path(space.embedding))
    with cells_of(storage, experiment, space, start, stop) as cells:
        if len(cells.ids) == 0:
            return entry
        part, _ = build_part(storage, cells, start, stop, number, recall=entry.recall)
    return replace(entry, parts=(*kept, part))


def open_parts(storage: Storage, uid: str, entry: IndexEntry, removed: NDArray[np.int64] | None) -> knn.Index:
    """Open the index that an entry names, without removed cells.

    Raises
    ------
    FormatError
        It is damaged, or not the one that was committed.
    """
    try:
        folders = [part_folder(storage, uid, part) for part in entry.parts]
        return knn.open(folders, without=removed)
    except (FormatError, FileNotFoundError) as error:
        msg = (
            f"The index of the atlas at {storage.uri!r} cannot be read ({error}). If the atlas was vacuumed since it "
            "was opened, open it again; otherwise open it with mode='w' and call build_index()."
        )
        raise FormatError(msg) from error


def part_folder(storage: Storage, uid: str, part: IndexPart) -> Path:
    """Return the folder of a part, of which a remote atlas has a local copy."""
    folder = cached(storage, part.folder, f"{uid}-{part.digest[:32]}", knn.verify)
    if knn.header_digest(folder) != part.digest:
        msg = f"{storage.uri}/{part.folder} is another index than the one that was committed"
        raise FormatError(msg)
    return folder
