"""JSON of bounded depth, and records of it whose types are checked."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from scim._core import FormatError, error_text
from scim.io._open import MOST_JSON, read_bytes

if TYPE_CHECKING:
    from pathlib import Path

_DEPTH = 64  # more than any file of ours has; what walks through JSON may call itself so often
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # an escape that is half a character, unless the other half follows
T = TypeVar("T")


def parse_json(content: bytes | str, where: str) -> Any:
    """Return the value of JSON text; `where` names the file in errors.

    Raises
    ------
    FormatError
        It is no JSON, nested too deeply, has a key twice in an object, or text that is no Unicode.
    """
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        value = json.loads(text, object_pairs_hook=_object)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
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
        content = read_bytes(path, most=MOST_JSON)
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = f"{str(path.parent)!r} is not a scim {kind}: it has no {path.name!r}."
        raise FileNotFoundError(msg) from error
    try:
        return parse_object(content, str(path))
    except FormatError as error:
        msg = f"{error_text(error)}; the scim {kind} is damaged."
        raise FormatError(msg) from error


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of what :func:`as_record` returns: annotations say which keys an object has, and of which types.

    `Annotated[int, msgspec.Meta(ge=0, le=9)]` gives a range, which NaN is not in; a ValueError of `__post_init__` is
    part of the message. Only :func:`as_record` checks.
    """


def as_record(content: Any, kind: type[T], where: str) -> T:
    """Return JSON values as a :class:`Record`, or another type that msgspec knows; no type is changed to another.

    Raises
    ------
    FormatError
        A value is missing, unknown to the record, or of another type; the message names it, as `$.parts[0].start`.
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        msg = f"{where!r} is not what it should be: {error_text(error)}."
        raise FormatError(msg) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        msg = f"one of the keys {[*value][:5]} occurs twice"
        raise ValueError(msg)
    return value


def _parts(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
