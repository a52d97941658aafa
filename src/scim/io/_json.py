"""JSON of bounded depth, and records of it whose types are checked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from scim._core import FormatError, error_text
from scim.io._open import read_bytes

if TYPE_CHECKING:
    from pathlib import Path

_DEPTH = 64  # more than any file of ours has; what walks through JSON may call itself so often
T = TypeVar("T")


def parse_json(content: bytes | str, where: str) -> Any:
    """Return the value of JSON text; `where` names the file in errors.

    Raises
    ------
    FormatError
        It is no JSON, or nested too deeply.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        msg = f"{where!r} is not readable JSON ({error_text(error)})."
        raise FormatError(msg) from error
    level = [value]
    for _ in range(_DEPTH):
        level = [part for parent in level for part in _parts(parent) if isinstance(part, dict | list)]
        if not level:
            return value
    msg = f"{where!r} is not readable JSON: it is nested more than {_DEPTH} times."
    raise FormatError(msg)


def parse_object(content: bytes | str, where: str) -> dict[str, Any]:
    """Return the object of JSON text; FormatError as of :func:`parse_json`, and for another value."""
    value = parse_json(content, where)
    if not isinstance(value, dict):
        msg = f"{where!r} holds a {type(value).__name__}, expected an object."
        raise FormatError(msg)
    return value


def read_json(path: Path, *, kind: str) -> dict[str, Any]:
    """Read a JSON object; `kind` names in errors what the file should have been part of."""
    try:
        content = read_bytes(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = f"{str(path.parent)!r} is not a scim {kind}: it has no {path.name!r}."
        raise FileNotFoundError(msg) from error
    try:
        return parse_object(content, str(path))
    except FormatError as error:
        msg = f"{error_text(error)}; the scim {kind} is damaged."
        raise FormatError(msg) from error


def as_record(content: Any, kind: type[T], where: str) -> T:
    """Return JSON values as a dataclass, or any other type that msgspec knows; nothing is converted to another type.

    Raises
    ------
    FormatError
        A value is missing, unknown to the type, or of another one; the message names it, as `$.parts[0].start`.
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        msg = f"{where!r} is not what it should be: {error_text(error)}."
        raise FormatError(msg) from error


def _parts(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
