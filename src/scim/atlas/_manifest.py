"""`atlas.json`: what of the atlas is committed. It is replaced in one step, and last: readers see all or nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from scim._core.errors import FormatError
from scim._core.folder import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

FILE = "atlas.json"
FORMAT = "scim-atlas"
VERSION = 1


@dataclass(frozen=True)
class IndexEntry:
    """The current search index of an atlas."""

    folder: str
    """Its folder, relative to the atlas."""

    n_obs: int
    """Number of cells it covers; fewer than the atlas has means that cells were appended since."""

    reach: float
    """Cosine distance within which 99.5 % of the cells have a cell of their label in another study."""


@dataclass(frozen=True)
class Manifest:
    """The committed state of an atlas."""

    uid: str
    model: str
    """`uid` of the model that embedded every cell."""

    n_obs: int
    timestamp: int
    """SOMA time in milliseconds: what was written later is not part of the atlas."""

    index: IndexEntry | None = None

    def write(self, path: Path) -> None:
        """Commit: make this the state that readers of the atlas at `path` see."""
        write_json(path / FILE, {"format": FORMAT, "version": VERSION, **asdict(self)})

    def with_index(self, index: IndexEntry | None) -> Manifest:
        """Return a copy with another index."""
        return replace(self, index=index)


def read_manifest(path: Path) -> Manifest:
    """Read the committed state.

    Raises
    ------
    FileNotFoundError
        `path` is not an atlas.
    FormatError
        The file is damaged, foreign, or written by a newer version.
    """
    content = read_json(path / FILE, kind="atlas")
    if content.pop("format", None) != FORMAT:
        msg = f"{str(path / FILE)!r} does not describe a scim atlas."
        raise FormatError(msg)
    version = content.pop("version", None)
    if version != VERSION:
        msg = f"The atlas at {str(path)!r} has format version {version}, this scim reads {VERSION}; upgrade scim-atlas."
        raise FormatError(msg)
    try:
        index = content.pop("index")
        return Manifest(**content, index=None if index is None else IndexEntry(**index))
    except (KeyError, TypeError) as error:
        msg = f"{str(path / FILE)!r} is incomplete ({error}); restore it from a copy of the atlas."
        raise FormatError(msg) from error
