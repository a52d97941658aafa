"""`journal.json`: a write that has begun. Whoever finds one after its writer has died knows what to finish or undo."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scim.atlas.storage import Storage

FILE = "journal.json"
UNREADABLE = -1
"""Stands for the commit that a write builds on whose journal cannot be read."""


@dataclass(frozen=True)
class Journal:
    """How far a write has come."""

    base: int
    """Number of the commit that it builds on."""

    what: str
    token: str | None
    """Says that the same input came again; `None`: that cannot be told, and the write is begun anew."""

    n_done: int
    """Rows of the input that are written."""

    timestamp: int
    """SOMA time of the last of what belongs to them."""

    def write(self, storage: Storage) -> None:
        """Write it down."""
        storage.write(FILE, json.dumps(asdict(self)).encode())


def read_journal(storage: Storage) -> Journal | None:
    """Return the write that has begun; `None` if there is none, or nothing can be made of it."""
    try:
        return Journal(**json.loads(storage.read(FILE)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return Journal(UNREADABLE, "an unknown write", None, 0, 0)


def drop_journal(storage: Storage) -> None:
    """Say that nothing is in progress."""
    storage.delete([FILE])
