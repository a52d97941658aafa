"""Arrays beside the store that are written once and never changed."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.errors import FormatError
from scim.atlas.commit._manifest import StoredArray

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from scim.atlas.storage import Storage


def store_array(storage: Storage, name: str, array: NDArray[Any], *, known: Iterable[StoredArray] = ()) -> StoredArray:
    """Write an array, unless one of those known is the same."""
    raw = _raw(array)
    digest = hashlib.sha256(raw).hexdigest()
    for entry in known:
        if entry.sha256 == digest:
            return entry
    storage.write(name, raw)
    return StoredArray(name, digest, array.shape[-1])


def restore_array(storage: Storage, entry: StoredArray, array: NDArray[Any]) -> bool:
    """Put an array in the place of one that was lost, if it is the same."""
    raw = _raw(array)
    same = hashlib.sha256(raw).hexdigest() == entry.sha256
    if same:
        storage.write(entry.name, raw)
    return same


def _raw(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def load_array(storage: Storage, entry: StoredArray) -> NDArray[Any]:
    """Read an array, compared with its checksum.

    Raises
    ------
    FormatError
        It is missing, or was changed.
    """
    try:
        raw = storage.read(entry.name)
    except FileNotFoundError as error:
        msg = f"{storage.uri}/{entry.name} is missing; scim.atlas.verify(uri, repair=True) makes it anew."
        raise FormatError(msg) from error
    if hashlib.sha256(raw).hexdigest() != entry.sha256:
        remedy = "scim.atlas.verify(uri, repair=True) makes it anew"
        msg = f"{storage.uri}/{entry.name} has changed since it was written; {remedy}."
        raise FormatError(msg)
    array: NDArray[Any] = np.load(io.BytesIO(raw), allow_pickle=False)
    return array
