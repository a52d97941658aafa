"""What is derived from obs: which ids are gone, and the hashes of names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.errors import FormatError
from scim.atlas.commit import load_array
from scim.atlas.verify._problem import Part, Problem, said

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from scim.atlas.commit import Manifest, StoredArray
    from scim.atlas.storage import Storage
    from scim.atlas.verify._store import Rows


def check_array(storage: Storage, part: Part, entry: StoredArray) -> Iterator[Problem]:
    """Compare an array beside the store with its checksum."""
    try:
        load_array(storage, entry)
    except FormatError as error:
        yield Problem(part, entry.name, "is missing" if isinstance(error.__cause__, OSError) else said(error))


def check_removed(storage: Storage, manifest: Manifest, rows: Rows) -> Iterator[Problem]:
    """Compare the removed ids with those that obs does not have."""
    kept = np.empty(0, dtype=np.int64) if manifest.removed is None else load_array(storage, manifest.removed)
    gone = np.setdiff1d(np.arange(manifest.n_rows), rows.ids, assume_unique=True)
    if not np.array_equal(kept, gone):
        where = "atlas.json" if manifest.removed is None else manifest.removed.name
        yield Problem("removed", where, f"says that {len(kept)} cells were removed; obs does not have {len(gone)}")


def check_names(storage: Storage, manifest: Manifest, rows: Rows) -> Iterator[Problem]:
    """Compare the hashes with the names in obs: sorted, of ids that were given, each live cell once."""
    parts = [load_array(storage, entry) for entry in manifest.names]
    for entry, part in zip(manifest.names, parts, strict=True):
        if (part[0][1:] < part[0][:-1]).any():
            yield Problem("names", entry.name, "is not sorted, so that cells would not be found in it")
    where = manifest.names[0].name if manifest.names else "names"
    ids = _joined([part[1] for part in parts])
    if len(ids) and (int(ids.max()) >= manifest.n_rows or len(np.unique(ids)) < len(ids)):
        yield Problem("names", where, "has ids twice, or such as were never given")
        return
    kept, known = np.zeros(manifest.n_rows, dtype=np.uint64), np.zeros(manifest.n_rows, dtype=np.bool_)
    kept[ids.astype(np.int64)], known[ids.astype(np.int64)] = _joined([part[0] for part in parts]), True
    n_wrong = int((~known[rows.ids] | (kept[rows.ids] != rows.hashes)).sum())
    if n_wrong:
        yield Problem("names", where, f"{n_wrong} cells would not be recognised if they came again")


def _joined(parts: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    return np.concatenate([np.empty(0, dtype=np.uint64), *parts])
