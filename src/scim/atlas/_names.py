"""Which cells are there already: a hash of study and cell name for each, sorted, so that asking costs no scan."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from scim._core import keys
from scim.atlas.commit import StoredArray, load_array, store_array
from scim.atlas.soma import Guard

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from scim.atlas.commit import Manifest
    from scim.atlas.storage import Storage

_NAMES = [keys.ATLAS_STUDY, keys.ATLAS_CELL_ID]

_FACTOR = 2
"""A new part takes in those before it that are at most so many times as large: few parts, each cell moved seldom."""


def hash_names(obs: pd.DataFrame) -> NDArray[np.uint64]:
    """Return a hash of study and cell name for each row, blake2b of 8 bytes."""
    starts = {study: hashlib.blake2b(f"{study}\0".encode(), digest_size=8) for study in obs[keys.ATLAS_STUDY].unique()}
    digests = bytearray()
    for study, cell in zip(obs[keys.ATLAS_STUDY], obs[keys.ATLAS_CELL_ID], strict=True):
        hashed = starts[study].copy()
        hashed.update(cell.encode())
        digests += hashed.digest()
    return np.frombuffer(bytes(digests), dtype="<u8")


def known_rows(
    storage: Storage, manifest: Manifest, experiment: Any, obs: pd.DataFrame, hashes: NDArray[np.uint64]
) -> NDArray[np.bool_]:
    """Return which rows of `obs`, whose hashes are given, are cells of the atlas: same study and same name."""
    known = np.zeros(len(obs), dtype=np.bool_)
    candidates: list[NDArray[np.int64]] = []
    for entry in manifest.names:
        there, ids = _load(storage, entry)
        # A removed cell that came again has the hash twice: look at all.
        firsts, ends = np.searchsorted(there, hashes, side="left"), np.searchsorted(there, hashes, side="right")
        known |= ends > firsts
        n_each = ends - firsts
        before = np.cumsum(n_each) - n_each
        places = np.repeat(firsts - before, n_each) + np.arange(n_each.sum())
        candidates.append(ids[places].astype(np.int64))
    if not known.any():
        return known
    # A hash says where to look; the names themselves decide.
    Guard(storage, manifest).check("obs")
    rows = pa.array(np.unique(np.concatenate(candidates)))
    stored = experiment.obs.read((rows,), column_names=_NAMES).concat().to_pydict()
    return _same_names(obs, known, zip(*(stored[name] for name in _NAMES), strict=True))


def shared_rows(
    obs: pd.DataFrame, hashes: NDArray[np.uint64], others: pd.DataFrame, their_hashes: NDArray[np.uint64]
) -> NDArray[np.bool_]:
    """Return which rows of `obs` are among other rows: same study and same name."""
    near = np.isin(hashes, their_hashes)
    if not near.any():
        return near
    there = others[np.isin(their_hashes, hashes[near])]
    return _same_names(obs, near, zip(*(there[name] for name in _NAMES), strict=True))


def _same_names(obs: pd.DataFrame, asked: NDArray[np.bool_], pairs: Iterable[tuple[str, str]]) -> NDArray[np.bool_]:
    """Return which of the rows asked for have their study and name among the pairs."""
    some, present = np.flatnonzero(asked), set(pairs)
    same = np.zeros(len(obs), dtype=np.bool_)
    same[some] = [pair in present for pair in zip(*(obs[name].to_numpy()[some] for name in _NAMES), strict=True)]
    return same


def add_names(
    storage: Storage, parts: Sequence[StoredArray], hashes: NDArray[np.uint64], first: int, number: int
) -> tuple[StoredArray, ...]:
    """Write the hashes of cells whose ids begin at `first`; return the parts that there are now."""
    kept, ids = list(parts), np.arange(first, first + len(hashes), dtype=np.uint64)
    while kept and kept[-1].n <= _FACTOR * len(hashes):
        there, their = _load(storage, kept.pop())
        hashes, ids = np.concatenate([there, hashes]), np.concatenate([their, ids])
    return (*kept, write_names(storage, hashes, ids, number))


def write_names(storage: Storage, hashes: NDArray[np.uint64], ids: NDArray[np.uint64], number: int) -> StoredArray:
    """Write a part."""
    return store_array(storage, f"names/{number:06d}.npy", sorted_names(hashes, ids))


def sorted_names(hashes: NDArray[np.uint64], ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a part as it is written: hashes, ascending, above the ids."""
    order = np.argsort(hashes, kind="stable")
    return np.stack([hashes[order], ids[order]])


def _load(storage: Storage, entry: StoredArray) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    hashes, ids = load_array(storage, entry)
    return hashes, ids
