"""Names that come from outside (a listing, a manifest, an archive, a registry) become paths here and nowhere else."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from scim._core import FormatError

if TYPE_CHECKING:
    from pathlib import Path

# A colon names a drive, or a stream of a file, on Windows; half a character, a surrogate, is no text.
_PART = re.compile(r"[^\x00-\x1f\x7f\\/:\ud800-\udfff]+")
_PART_BYTES, _NAME_BYTES = 255, 1024


def check_name(name: object) -> str:
    """Return the name of a part of a folder, relative to it and with `/`, as "index/v000003/ids.npy".

    Raises
    ------
    FormatError
        It is no text, absolute or too long, or has `..`, an empty part, a control character, a backslash or a colon.
    """
    if isinstance(name, str) and all(_is_part(part) for part in name.split("/")) and _length(name) <= _NAME_BYTES:
        return name
    msg = f"Expected the name of a part, relative and as 'index/v000003/ids.npy', got {str(name)[:200]!r}."
    raise FormatError(msg)


def inside(root: Path, name: object) -> Path:
    """Return the path of a part of a folder, which need not exist; the folder itself may be a link.

    Raises
    ------
    FormatError
        The name is none (:func:`check_name`), or a link lies below `root`: what is behind it is not of this folder.
    """
    path = str(root)
    for part in check_name(name).split("/"):
        path = os.path.join(path, part)  # noqa: PTH118  (Path costs more than the look at the disk)
        if is_link(path):
            msg = f"{path!r} is a link, and what is behind it is not part of {str(root)!r}; "
            msg += "put the files themselves in its place."
            raise FormatError(msg)
    return root / str(name)


def is_link(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a link, or a junction of Windows; a path that does not exist is none."""
    is_junction = getattr(os.path, "isjunction", None)  # from Python 3.12 on
    return os.path.islink(path) or bool(is_junction and is_junction(path))  # noqa: PTH114  (as above)


def _is_part(part: str) -> bool:
    return part not in ("", ".", "..") and _PART.fullmatch(part) is not None and _length(part) <= _PART_BYTES


def _length(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))
