"""HDF5 files and zarr stores, opened; what they consist of is checked before any of it is read."""

from __future__ import annotations

import contextlib
import zipfile
from typing import TYPE_CHECKING, Any

import h5py  # type: ignore[import-untyped]  # has no types
import numpy as np
import zarr

from scim._core import FormatError, error_text
from scim.io import check_name, check_regular, files_below
from scim.io.cells._disk import MOST_CHUNK, check_chunks, named_damage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MOST_EXPANDED = 1100
"""A byte of a deflated file is at most 1,032 bytes of its content."""
_MOST_EXPANDED_BY_OTHERS = 1 << 15
"""A block of zstd or blosc in which one value is repeated: 128 KiB in four bytes."""
_PLAIN_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
_ANY_BYTES = 2**20  # of any array: small ones need not be in proportion to the file
_MOST_OBJECTS = 200_000  # of a file; that of an AnnData has some hundreds
_MOST_DEPTH = 64


@contextlib.contextmanager
def open_store(path: Path) -> Iterator[Any]:
    """Yield the root of an HDF5 file, of a zarr folder or of a zip of one.

    Raises
    ------
    FormatError
        It is none of them, a pipe or a device; it has links to other files, or parts that lie within themselves.
    """
    with contextlib.ExitStack() as stack:
        if path.is_dir():
            stored_bytes(path)  # refuses links, pipes and devices
            root = _zarr_group(str(path), path)
        elif path.suffix == ".zip":
            root = _zarr_group(_open_zip(path, stack), path)
        else:
            check_regular(path, links=True)
            with named_damage(repr(str(path))):
                root = stack.enter_context(h5py.File(path, "r"))
                _check_objects(root, str(path))
        yield root


def is_hdf5(path: Path) -> bool:
    """Return whether a regular file is HDF5; FormatError for a pipe or device."""
    return not path.is_dir() and check_regular(path, links=True) > 0 and bool(h5py.is_hdf5(path))


def stored_bytes(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    if path.is_dir():
        return sum(entry.stat(follow_symlinks=False).st_size for entry in files_below(path))
    return check_regular(path, links=True)


def check_loadable(element: Any, n_bytes: int, file: str) -> None:
    """Raise FormatError for a part of a file of `n_bytes` that declares more content than the file can have."""
    with named_damage(repr(file)):
        total = sum(_declared(array, file) for array in _arrays(element))
    if total > _MOST_EXPANDED * n_bytes + _ANY_BYTES:
        raise _too_large(element, total, n_bytes, file)


def _declared(array: Any, file: str) -> int:
    """Return the bytes of an array in memory; they are compared with those it has in an HDF5 file."""
    size = int(np.prod(array.shape or (1,), dtype=object)) * int(array.dtype.itemsize)
    check_chunks(array, f"{array.name!r} of {file!r}")
    if isinstance(array, h5py.Dataset):
        stored = int(array.id.get_storage_size())
        if size > _most_expanded(array) * stored + _ANY_BYTES:
            raise _too_large(array, size, stored, file)
    return size


def _most_expanded(array: h5py.Dataset) -> int:
    properties = array.id.get_create_plist()
    filters = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
    if not filters:
        return 1
    return _MOST_EXPANDED if filters <= _PLAIN_FILTERS else _MOST_EXPANDED_BY_OTHERS


def _too_large(element: Any, size: int, n_bytes: int, file: str) -> FormatError:
    msg = f"{element.name!r} of {file!r} claims {size:,} bytes of content, of which {n_bytes:,} bytes cannot be "
    msg += "the whole; it is damaged or made up. Write or copy it again."
    return FormatError(msg)


def _arrays(element: Any, depth: int = 0) -> Iterator[Any]:
    if hasattr(element, "shape"):
        yield element
        return
    if depth > _MOST_DEPTH:
        msg = f"{element.name[:40]!r} is nested more than {_MOST_DEPTH} times"
        raise ValueError(msg)
    for name in element:
        yield from _arrays(element[name], depth + 1)


def _check_objects(root: Any, file: str) -> None:
    """Raise FormatError for links, arrays in other files, and groups that are reached twice, as by a circle."""
    groups, known, n_objects = [root], {h5py.h5o.get_info(root.id).addr}, 0
    while groups:
        group = groups.pop()
        for name in group:
            place, n_objects = f"{group.name.rstrip('/')}/{name} of {file!r}", n_objects + 1
            if not isinstance(group.get(name, getlink=True), h5py.HardLink) or n_objects > _MOST_OBJECTS:
                what = "has too many parts" if n_objects > _MOST_OBJECTS else "is a link, which anndata does not write"
                msg = f"{place} {what}. Expected a file as adata.write_h5ad(path) makes it."
                raise FormatError(msg)
            part = group[name]
            if isinstance(part, h5py.Group):
                address = h5py.h5o.get_info(part.id).addr
                if address in known:
                    msg = f"{place} is a group that is elsewhere in the file too. Write it again with anndata."
                    raise FormatError(msg)
                known.add(address)
                groups.append(part)
            elif isinstance(part, h5py.Dataset):
                _check_own(part, place)


def _check_own(array: Any, place: str) -> None:
    """Raise FormatError for an array whose values are in other files."""
    properties = array.id.get_create_plist()
    if properties.get_external_count() or properties.get_layout() == h5py.h5d.VIRTUAL:
        msg = f"{place} has its values in other files, which are not read. Write it again with anndata."
        raise FormatError(msg)


def _open_zip(path: Path, stack: contextlib.ExitStack) -> Any:
    """Open a zip whose entries are no larger than chunks may be."""
    check_regular(path, links=True)
    if not zipfile.is_zipfile(path):
        msg = f"{str(path)!r} cannot be read: it is no zip, or incomplete. Write or copy it again."
        raise FormatError(msg)
    with named_damage(repr(str(path))), zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            check_name(entry.filename.removesuffix("/"))
            if entry.file_size > MOST_CHUNK and entry.file_size > 4 * entry.compress_size:
                msg = f"{entry.filename!r} of {str(path)!r} claims {entry.file_size:,} bytes, too many for its size."
                raise FormatError(msg)
        return stack.enter_context(zarr.storage.ZipStore(path, mode="r"))


def _zarr_group(store: Any, path: Path) -> Any:
    try:
        # Consolidated metadata would name parts that are not there, or lie elsewhere.
        return zarr.open_group(store, mode="r", use_consolidated=False)
    except Exception as error:  # zarr raises errors of many kinds
        is_tiledb = path.is_dir() and any(path.glob("__tiledb_group.tdb"))
        hint = "; it is a TileDB folder: open it with tiledbsoma.Experiment.open(path)" if is_tiledb else ""
        msg = f"{str(path)!r} is no zarr store{hint}. Expected an h5ad file or what adata.write_zarr(path) makes "
        msg += f"({error_text(error)[:200]})."
        raise FormatError(msg) from error
