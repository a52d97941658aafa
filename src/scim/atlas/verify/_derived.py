"""What is derived from the store: names, removed ids, models and indices, against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim import index as knn
from scim._core import keys
from scim._core.log import progress
from scim.atlas._indexed import read_indexed
from scim.atlas._names import hash_names, load_array
from scim.atlas._parts import open_parts, part_folder
from scim.atlas.soma import read_embeddings, read_obs
from scim.atlas.storage import cached
from scim.atlas.verify._problem import Problem
from scim.atlas.verify._store import ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from scim.atlas.commit import Manifest, Space
    from scim.atlas.storage import Storage

_TOLERANCE = 1e-3
"""How far a number of an index may be from the store: its 16-bit values are about 1e-5 away."""


def check_removed(storage: Storage, manifest: Manifest) -> Iterator[Problem]:
    """Compare the removed ids with the number of cells."""
    gone = np.empty(0) if manifest.removed is None else load_array(storage, manifest.removed)
    if manifest.n_rows - len(gone) != manifest.n_obs:
        where = "atlas.json" if manifest.removed is None else manifest.removed.name
        what = f"{manifest.n_rows} rows less {len(gone)} removed are not the {manifest.n_obs} cells committed"
        yield Problem("removed", where, what)


def check_names(storage: Storage, experiment: Any, manifest: Manifest) -> Iterator[Problem]:
    """Compare the hashes with the names in obs."""
    parts = [load_array(storage, entry) for entry in manifest.names]
    hashes, ids = np.concatenate(parts, axis=1) if parts else np.empty((2, 0), dtype=np.uint64)
    frame = experiment.obs.read(column_names=["soma_joinid", keys.ATLAS_STUDY, keys.ATLAS_CELL_ID]).concat().to_pandas()
    expected = np.zeros(manifest.n_rows, dtype=np.uint64)
    expected[frame["soma_joinid"]] = hash_names(frame)
    kept = np.zeros(manifest.n_rows, dtype=np.uint64)
    kept[ids[ids < manifest.n_rows].astype(np.int64)] = hashes[ids < manifest.n_rows]
    n_wrong = int((kept != expected)[frame["soma_joinid"]].sum())
    if n_wrong or any((np.diff(part[0].astype(object)) < 0).any() for part in parts if len(part[0]) < 1000):
        where = manifest.names[0].name if manifest.names else "names"
        yield Problem("names", where, f"{n_wrong} cells would not be recognised if they came again")


def check_model(storage: Storage, uid: str, space: Space) -> Iterator[Problem]:
    """Load the model; it must be the one that embedded the cells."""
    from scim.model import load  # noqa: PLC0415  (torch)

    if space.folder is None:
        return
    found = load(cached(storage, space.folder, f"{uid}/model-{space.model}", lambda _: None)).uid
    if found != space.model:
        what = f"is model {found}, but the cells were embedded with {space.model}; put the original back"
        yield Problem("model", space.folder, what)


def check_index_files(storage: Storage, uid: str, space: Space) -> Iterator[Problem]:
    """Compare the files of each part with their checksums, and the part with the one committed."""
    for part in () if space.index is None else space.index.parts:
        try:
            knn.verify(part_folder(storage, uid, part))
        except (ValueError, OSError) as error:
            yield Problem("index", part.folder, " ".join(str(error).split()))


def check_index(
    storage: Storage, experiment: Any, manifest: Manifest, space: Space, ids: NDArray[np.int64]
) -> Iterator[Problem]:
    """Compare what the index says of each cell with the store: ids, vectors and columns."""
    if space.index is None:
        return
    gone = None if manifest.removed is None else load_array(storage, manifest.removed)
    index = open_parts(storage, manifest.uid, space.index, gone)
    where = space.index.parts[0].folder
    covered = ids[ids < space.index.n_rows]
    if not np.array_equal(index.ids, covered):
        yield Problem("index", where, f"has {index.n_rows} cells, expected {len(covered)}")
        return
    elsewhere = {name for part in space.index.parts for name in part.elsewhere}
    columns = [name for name in index.columns if name not in elsewhere]
    wrong = dict.fromkeys(["embedding", *columns], 0)
    for start in progress(range(0, len(covered), ROWS), desc="index", unit="block"):
        some = covered[start : start + ROWS]
        apart = np.abs(index.vectors(some) - read_embeddings(experiment, space.embedding, some)).max(axis=1)
        wrong["embedding"] += int((~(apart <= _TOLERANCE)).sum())
        there = read_obs(experiment, some, columns)
        known = read_indexed(index, some, columns, experiment.obs.schema)
        for name in columns:
            same = (there[name] == known[name]).fillna(False) | (there[name].isna() & known[name].isna())  # noqa: FBT003
            wrong[name] += int((~same.to_numpy(dtype=np.bool_)).sum())
    for name, n_wrong in wrong.items():
        if n_wrong:
            yield Problem("index", where, f"{name} of {n_wrong} cells differs from the store")
