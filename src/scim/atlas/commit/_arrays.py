"""Arrays beside the store, each a file that is written once; checksum and values are checked when it is read."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import FormatError
from scim.atlas.commit._manifest import StoredArray
from scim.io import check_array, parse_npy, parse_npz

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from scim.atlas.commit._manifest import Manifest
    from scim.atlas.storage import Storage

REMEDY = "scim.atlas.verify(uri, repair=True) names the remedy."
_DEFLATE = 6


def store_array(storage: Storage, name: str, array: NDArray[Any], *, known: Iterable[StoredArray] = ()) -> StoredArray:
    """Write an array, unless one of those known is the same."""
    raw = _npy(array)
    checksum = hashlib.sha256(raw).hexdigest()
    if same := next((entry for entry in known if entry.sha256 == checksum), None):
        return same
    storage.write(name, raw)
    return StoredArray(name, checksum, array.shape[-1])


def store_arrays(storage: Storage, name: str, arrays: Mapping[str, NDArray[Any]], n: int) -> StoredArray:
    """Write arrays by name as one compressed file, of `n` entries; the same arrays make the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=_DEFLATE) as archive:
        for key, array in arrays.items():  # as np.savez does, but without the time of day
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), _npy(array), zipfile.ZIP_DEFLATED)
    raw = buffer.getvalue()
    storage.write(name, raw)
    return StoredArray(name, hashlib.sha256(raw).hexdigest(), n)


def restore_array(storage: Storage, entry: StoredArray, array: NDArray[Any]) -> bool:
    """Write an array again if it is the one that was lost."""
    return restore(storage, entry, _npy(array))


def load_ids(storage: Storage, entry: StoredArray, most: int) -> NDArray[np.int64]:
    """Read ids, ascending and below `most`: removed cells, or the genes of a panel.

    `FormatError`: the file is missing, does not have its checksum, or holds something else.
    """
    where = address(storage, entry)
    return check_ids(parse_npy(read_stored(storage, entry), where), where, entry.n, most)


def check_ids(ids: NDArray[Any], where: str, n: int, most: int) -> NDArray[np.int64]:
    """Return `n` ids as they are; `FormatError` unless they ascend from 0 or more to below `most`."""
    check_array(ids, where, "i", (n,), least=0, most=most - 1, remedy=REMEDY)
    if (ids[1:] <= ids[:-1]).any():
        msg = f"{where!r} has ids that do not ascend. {REMEDY}"
        raise FormatError(msg)
    return ids


def load_removed(storage: Storage, manifest: Manifest) -> NDArray[np.int64]:
    """Read the ids of removed cells; errors as of :func:`load_ids`."""
    none = np.empty(0, dtype=np.int64)
    return none if manifest.removed is None else load_ids(storage, manifest.removed, manifest.n_rows)


def load_names(storage: Storage, entry: StoredArray, most: int) -> NDArray[np.uint64]:
    """Read hashes of names, ascending, above ids below `most`, (2, n); errors as of :func:`load_ids`."""
    where = address(storage, entry)
    array = check_array(parse_npy(read_stored(storage, entry), where), where, "u", (2, entry.n), remedy=REMEDY)
    hashes, ids = array
    check_array(ids, where, "u", (entry.n,), most=most - 1, remedy=REMEDY)
    if (hashes[1:] < hashes[:-1]).any():
        msg = f"{where!r} is not sorted, so that cells would not be found in it. {REMEDY}"
        raise FormatError(msg)
    return array


def load_arrays(storage: Storage, entry: StoredArray, *names: str) -> dict[str, NDArray[Any]]:
    """Read what :func:`store_arrays` wrote, or only arrays of these names; errors as of :func:`load_ids`."""
    return parse_npz(read_stored(storage, entry), address(storage, entry), names)


def read_stored(storage: Storage, entry: StoredArray, remedy: str = REMEDY) -> bytes:
    """Return the content of a file; `FormatError` if it is missing, or does not have its checksum."""
    try:
        raw = storage.read(entry.name)
    except FileNotFoundError as error:
        msg = f"{address(storage, entry)} is missing; {remedy}"
        raise FormatError(msg) from error
    if hashlib.sha256(raw).hexdigest() != entry.sha256:
        msg = f"{address(storage, entry)} has changed since it was written; {remedy}"
        raise FormatError(msg)
    return raw


def restore(storage: Storage, entry: StoredArray, raw: bytes) -> bool:
    """Write a file again if this is the content that was lost."""
    same = hashlib.sha256(raw).hexdigest() == entry.sha256
    if same:
        storage.write(entry.name, raw)
    return same


def address(storage: Storage, entry: StoredArray) -> str:
    """Return the address of a file, for errors."""
    return f"{storage.uri}/{entry.name}"


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
