"""The one place where paths of users are read and checked, before anything is written."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from scim._core import hide_login

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # with one slash: what pathlib makes of 's3://bucket/name'
_LOGIN = re.compile(r"(?://+)?[^/\\:@]{2,}:[^/\\]*@")  # as 'name:password@host'; one letter is a drive
_NAME_BYTES = 255 - len("..12345678.tmp")  # a file has a temporary name before it has its own
_PATH_BYTES = 4095 - 512  # and files of an atlas lie far down in it


def local_path(path: str | os.PathLike[str], *, what: str = "a file or folder", without: str = "") -> Path:
    """Return an absolute path, `~` replaced by the home folder; the characters of `without` are refused in it.

    Raise TypeError for what is not text or a path, ValueError for a path that cannot be used.
    """
    is_path = isinstance(path, str | os.PathLike)
    text: Any = os.fspath(path) if is_path else None
    if not isinstance(text, str):
        msg = f"Expected the path of {what}, got {type(path).__name__}."
        raise TypeError(msg)
    if text == "":
        msg = f"Expected the path of {what}, got an empty text."
        raise ValueError(msg)
    if "://" in text or _ADDRESS.match(text):
        msg = f"{hide_login(text)!r} is not a path on this machine; {_address_remedy(text, what)}."
        raise ValueError(msg)
    if _LOGIN.match(text):
        msg = f"{hide_login(text)!r} is an address with credentials, expected the path of {what}; "
        msg += "put './' before a name that has ':' and '@'."
        raise ValueError(msg)
    try:
        absolute = Path(text).expanduser().absolute()
    except RuntimeError as error:
        msg = f"{text!r}: there is no such home folder; write './{text}' for a name that begins with '~'."
        raise ValueError(msg) from error
    _check_characters(absolute, without, what)
    return absolute


def real_path(path: str | os.PathLike[str], *, what: str = "a file or folder") -> Path:
    """Return the absolute path behind links; one in a circle of links stays as it is, and does not exist."""
    return Path(os.path.realpath(local_path(path, what=what)))  # Path.resolve raises RuntimeError for a circle


def new_path(path: str | os.PathLike[str], *, what: str = "a file or folder") -> Path:
    """Return the absolute path of what will be written; raise ValueError for one that is too long too."""
    absolute = local_path(path, what=what)
    longest, n_bytes = max(len(os.fsencode(part)) for part in absolute.parts), len(os.fsencode(absolute))
    if longest > _NAME_BYTES or n_bytes > _PATH_BYTES:
        msg = f"The path {str(absolute)[:60]!r}... is too long: its longest name has {longest} bytes, expected at most "
        msg += f"{_NAME_BYTES}; all of it {n_bytes}, expected at most {_PATH_BYTES}."
        raise ValueError(msg)
    return absolute


def _address_remedy(text: str, what: str) -> str:
    if text.startswith("file:"):
        return "pass the path itself, without 'file://'"
    if text.startswith("s3:"):
        return "pass an address on S3 as text: 's3://bucket/name', and only for an atlas or an experiment"
    return f"expected the path of {what}"


def _check_characters(path: Path, without: str, what: str) -> None:
    text = str(path)
    bad = next((character for character in text if character in f"\0{without}"), None)
    if bad is not None:
        msg = f"{text!r} has the character {bad!r}, with which {what} cannot be stored; rename the folder or file."
        raise ValueError(msg)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        msg = f"{text!r} is not valid text (UTF-8), at {text[error.start]!r}; rename the folder or file."
        raise ValueError(msg) from error
