"""What is checked of the store before an array of it is first read."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from scim._core import keys
from scim._core.errors import FormatError
from scim.atlas.commit import SOMA, Ledger, read_ledger, store_files

if TYPE_CHECKING:
    from scim.atlas.commit import Manifest
    from scim.atlas.storage import Storage

_SMALL = re.compile(r"/__schema/|/__commits/|/__meta/|/__fragment_metadata\.tdb$")
"""Files that TileDB reads without comparing a checksum of its own."""

_COLUMN_FILE = re.compile(r"/a(\d+)(_var|_validity)?\.tdb$")
_N_CHECKED = len(keys.ATLAS_COLUMNS)
"""The first columns of obs have checksums of TileDB; those that came later, by a change of the schema, have none."""


class Guard:
    """Compares the files of an array with the ledger: none missing, none foreign, none of another size.

    Parameters
    ----------
    storage
        Files of the atlas.
    manifest
        The commit that is read.
    """

    def __init__(self, storage: Storage, manifest: Manifest) -> None:
        self._storage, self._manifest = storage, manifest
        self._seen: set[tuple[str, bool]] = set()

    @cached_property
    def ledger(self) -> Ledger:
        """The files of the store at the commit."""
        return read_ledger(self._storage, self._manifest.ledger)

    def check(self, array: str, *, later_columns: bool = False) -> None:
        """Check an array, once.

        Parameters
        ----------
        array
            Its path in the experiment.
        later_columns
            Whether columns are read that obs did not have from the start.

        Raises
        ------
        FormatError
            A file differs from what was committed.
        """
        if (array, later_columns) in self._seen:
            return
        prefix = f"{SOMA}/{array}/"
        listed = {name: facts for name, facts in self.ledger.items() if name.startswith(prefix)}
        found = {
            file.name: file.n_bytes
            for file in store_files(self._storage, prefix.rstrip("/"))
            if file.belongs_to(self._manifest)
        }
        for name in sorted(set(listed) - set(found)):
            self._refuse(name, "is missing")
        for name in sorted(set(found) - set(listed)):
            self._refuse(name, "was never committed")
        for name, (n_bytes, digest) in listed.items():
            if found[name] != n_bytes:
                self._refuse(name, f"has {found[name]} bytes, expected {n_bytes}")
            if digest is not None and self._unprotected(name, later_columns) and self._storage.digest(name) != digest:
                self._refuse(name, "has changed since it was committed")
        self._seen.add((array, later_columns))

    @staticmethod
    def _unprotected(name: str, later_columns: bool) -> bool:  # noqa: FBT001  (private, and one caller)
        if _SMALL.search(name):
            return True
        column = _COLUMN_FILE.search(name)
        return later_columns and column is not None and int(column[1]) >= _N_CHECKED

    def _refuse(self, name: str, problem: str) -> None:
        msg = (
            f"{self._storage.uri}/{name} {problem}. If the atlas was vacuumed since it was opened, open it again; "
            "otherwise it is damaged: scim.atlas.verify() says what is, and a copy of the atlas has it."
        )
        raise FormatError(msg)
