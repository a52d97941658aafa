"""Lookup of cells by study and name: sorted hashes with ids recognise a duplicate without a scan of obs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from scim._core import keys
from scim.atlas.commit import StoredArray, load_names, store_array
from scim.atlas.soma import IntegrityChecker, named_damage, open_experiment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from scim.atlas.commit import Manifest
    from scim.atlas.storage import Storage

_NAMES = [keys.ATLAS_STUDY, keys.ATLAS_CELL_ID]
_FACTOR = 2  # a new part takes in those before it that are at most this many times as large: each cell moves seldom


def hash_names(obs: pd.DataFrame) -> NDArray[np.uint64]:
    """Return a hash of study and cell name for each row, blake2b of 8 bytes."""
    starts = {study: hashlib.blake2b(f"{study}\0".encode(), digest_size=8) for study in obs[keys.ATLAS_STUDY].unique()}
    digests = bytearray()
    for study, cell in zip(obs[keys.ATLAS_STUDY], obs[keys.ATLAS_CELL_ID], strict=True):
        digest = starts[study].copy()
        digest.update(cell.encode())
        digests += digest.digest()
    return np.ndarray(len(obs), "<u8", digests)


def known_rows(
    storage: Storage, manifest: Manifest, obs: pd.DataFrame, hashes: NDArray[np.uint64]
) -> NDArray[np.bool_]:
    """Return which rows of `obs` (with their hashes) are cells of the atlas: same study and same name."""
    known = np.zeros(len(obs), dtype=np.bool_)
    candidates: list[NDArray[np.int64]] = []
    for entry in manifest.names:
        stored, ids = load_names(storage, entry, manifest.n_rows)
        # A removed cell that was appended again has its hash twice: take all candidates.
        first = np.searchsorted(stored, hashes, side="left")
        n_candidates = np.searchsorted(stored, hashes, side="right") - first
        known |= n_candidates > 0
        before = np.cumsum(n_candidates) - n_candidates
        positions = np.repeat(first - before, n_candidates) + np.arange(n_candidates.sum())
        candidates.append(ids[positions].astype(np.int64))
    if not known.any():
        return known
    # Equal hashes are candidates; the names decide.
    IntegrityChecker(storage, manifest).check("obs")
    rows = pa.array(np.unique(np.concatenate(candidates)))
    with named_damage(storage), open_experiment(storage, at=manifest.timestamp) as experiment:
        names = experiment.obs.read((rows,), column_names=_NAMES).concat().to_pydict()
    return _same_names(obs, known, zip(*(names[name] for name in _NAMES), strict=True))


def shared_rows(
    obs: pd.DataFrame, hashes: NDArray[np.uint64], before: pd.DataFrame, hashes_before: NDArray[np.uint64]
) -> NDArray[np.bool_]:
    """Return which rows of `obs` are among the rows `before`: same study and same name."""
    candidates = np.isin(hashes, hashes_before)
    if not candidates.any():
        return candidates
    names = before[np.isin(hashes_before, hashes[candidates])]
    return _same_names(obs, candidates, zip(*(names[name] for name in _NAMES), strict=True))


def _same_names(obs: pd.DataFrame, rows: NDArray[np.bool_], pairs: Iterable[tuple[str, str]]) -> NDArray[np.bool_]:
    """Return which of these rows have their study and name among the pairs."""
    positions, present = np.flatnonzero(rows), set(pairs)
    same = np.zeros(len(obs), dtype=np.bool_)
    names = zip(*(obs[name].to_numpy()[positions] for name in _NAMES), strict=True)
    same[positions] = [pair in present for pair in names]
    return same


def add_names(
    storage: Storage, parts: Sequence[StoredArray], hashes: NDArray[np.uint64], first: int, number: int
) -> tuple[StoredArray, ...]:
    """Write the hashes of cells with ids from `first` on; return the parts of commit `number`."""
    kept, ids = list(parts), np.arange(first, first + len(hashes), dtype=np.uint64)
    while kept and kept[-1].n <= _FACTOR * len(hashes):
        stored, stored_ids = load_names(storage, kept.pop(), first)
        hashes, ids = np.concatenate([stored, hashes]), np.concatenate([stored_ids, ids])
    return (*kept, write_names(storage, hashes, ids, number))


def write_names(storage: Storage, hashes: NDArray[np.uint64], ids: NDArray[np.uint64], number: int) -> StoredArray:
    """Write a part."""
    return store_array(storage, f"names/{number:06d}.npy", sorted_names(hashes, ids))


def sorted_names(hashes: NDArray[np.uint64], ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the content of a part: the hashes, ascending, above the ids."""
    order = np.argsort(hashes, kind="stable")
    return np.stack([hashes[order], ids[order]])
