"""Opening a saved index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scim._core.errors import FormatError
from scim.index._files import HEADER, REMEDY, map_array, read_header
from scim.index._kinds import KINDS, index_class

if TYPE_CHECKING:
    import os

    from scim.index._base import Index


def open(path: str | os.PathLike[str]) -> Index:  # noqa: A001  (used as `scim.index.open`)
    """Open a saved index by memory map, in a time that does not depend on its size.

    Names, sizes, shapes and types of the files are checked, not their content: :func:`scim.index.verify` does that.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    FormatError
        It is not a scim index, of another version, or damaged.
    """
    folder = Path(path)
    header = read_header(folder)
    if header["kind"] not in KINDS:
        msg = f"{str(folder / HEADER)!r} has kind {header['kind']!r}, expected one of {sorted(KINDS)}. {REMEDY}"
        raise FormatError(msg)
    kind = index_class(header["kind"])
    if set(header["files"]) != {"ids", *kind.files}:
        came = f"lists the arrays {sorted(header['files'])}, not those of {header['kind']!r}"
        msg = f"{str(folder / HEADER)!r} {came}. {REMEDY}"
        raise FormatError(msg)
    arrays = {name: map_array(folder / f"{name}.npy", entry) for name, entry in header["files"].items()}
    ids = arrays.pop("ids")
    if ids.shape != (header["n_rows"],):
        msg = f"{str(folder / 'ids.npy')!r} has shape {ids.shape}, expected {(header['n_rows'],)}. {REMEDY}"
        raise FormatError(msg)
    index: Index = kind._restore(ids, arrays, header["params"])
    return index
