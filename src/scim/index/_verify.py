"""Reading all of a saved index to see whether it is what was saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scim.index._files import check_content_of, read_header

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
