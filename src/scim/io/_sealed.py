"""Headers with their own checksum, which list the files of a folder with bytes and checksum."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from scim._core import FormatError
from scim.io._json import as_record
from scim.io._names import inside
from scim.io._open import check_regular, checksum

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

_SEAL, _FILES = "sha256", "files"


def digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of JSON content, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header with its checksum."""
    return {**content, _SEAL: digest(content)}


def unsealed(content: Mapping[str, Any], where: str, *, remedy: str) -> dict[str, Any]:
    """Return a header without its checksum; FormatError, which ends with `remedy`, if it has another."""
    rest = {key: value for key, value in content.items() if key != _SEAL}
    if content.get(_SEAL) != digest(rest):
        msg = f"{where!r} has changed since it was written: its checksum differs. {remedy}"
        raise FormatError(msg)
    return rest


def describe_file(path: Path) -> dict[str, Any]:
    """Return bytes and SHA-256 of a file, as a header lists them."""
    return {"bytes": check_regular(path), "sha256": checksum(path)}


def check_size(folder: Path, name: object, entry: Mapping[str, Any], *, remedy: str) -> Path:
    """Return the path of a file of a folder; FormatError if it is missing, no file, or of another size."""
    path = inside(folder, name)
    try:
        n_bytes = check_regular(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = f"{str(path)!r} is missing. {remedy}"
        raise FormatError(msg) from error
    if n_bytes != entry.get("bytes"):
        msg = f"{str(path)!r} has {n_bytes} bytes, expected {entry.get('bytes')}: it is truncated or replaced. {remedy}"
        raise FormatError(msg)
    return path


def check_content(folder: Path, name: object, entry: Mapping[str, Any], *, remedy: str) -> Path:
    """Return the path of a file of a folder; FormatError as of :func:`check_size`, or if its content has changed."""
    path = check_size(folder, name, entry, remedy=remedy)
    if checksum(path) != entry.get("sha256"):
        msg = f"{str(path)!r} has changed since it was written: its checksum differs. {remedy}"
        raise FormatError(msg)
    return path


def sealed_with(folder: Path, content: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return a header with the bytes and checksums of the other files of a folder, and its own."""
    return sealed({**content, _FILES: {name: describe_file(folder / name) for name in names}})


def unsealed_with(header: Path, content: Mapping[str, Any], names: Collection[str], *, remedy: str) -> dict[str, Any]:
    """Return a header without checksums, after the comparison of the other files of its folder with them.

    A header of an earlier version has none; then the files must be there.

    Raises
    ------
    FormatError
        A file is missing, no file or changed; or the header has changed.
    """
    for name in names:
        if not inside(header.parent, name).exists():
            msg = f"{str(header.parent)!r} is not whole: it has no {name!r}. {remedy}"
            raise FormatError(msg)
    if not content.keys() & {_FILES, _SEAL}:
        return dict(content)
    rest = unsealed(content, str(header), remedy=remedy)
    files = as_record(rest.pop(_FILES, None), dict[str, dict[str, Any]], str(header))
    for name in names:
        check_content(header.parent, name, files.get(name, {}), remedy=remedy)
    return rest
