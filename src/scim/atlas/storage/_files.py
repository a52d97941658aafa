"""What a store has to be able to do; `Storage` is written against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

CHUNK = 8 << 20
"""Bytes that are read at once: on S3 each is a request."""


class StoredFile(NamedTuple):
    """A file of an atlas."""

    name: str
    """Its path within the atlas, with `/`."""
    n_bytes: int
    """Its size."""
    modified: float
    """When it was last written, in seconds since 1970 by the clock of the store."""


class Files(Protocol):
    """Files by their path within the atlas, in a folder or in a bucket."""

    def exists(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes: ...

    def chunks(self, name: str) -> Iterator[bytes]: ...

    def write(self, name: str, content: bytes, *, new: bool) -> None: ...

    def put(self, file: Path, name: str) -> None: ...

    def delete(self, names: Iterable[str]) -> None: ...

    def delete_folder(self, name: str) -> None: ...

    def files(self, folder: str) -> list[StoredFile]: ...

    def folders(self, folder: str) -> list[str]: ...
