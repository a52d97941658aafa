"""Whether a saved index is what was saved: all of it read, or known again by its header."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scim.index._files import check_content_of, digest_of, read_header

if TYPE_CHECKING:
    import os


def verify(path: str | os.PathLike[str]) -> None:
    """Read every file of a saved index and compare it with its checksum.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    FormatError
        It is not a scim index, of another version, or a file differs from what was saved.
    """
    folder = Path(path)
    check_content_of(folder, read_header(folder))


def header_digest(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of the header of a saved index, by which a manifest can know the folder again.

    The header has the checksums of all files, so two folders of one digest hold the same, unless a file is damaged;
    only the header is read, and compared with the digest in it.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    FormatError
        It is not a scim index, of another version, or its header has changed.
    """
    return digest_of(read_header(Path(path)))
