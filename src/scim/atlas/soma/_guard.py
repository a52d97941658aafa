"""What is checked of the store before an array of it is first read."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

from scim._core import keys
from scim._core.errors import FormatError
from scim.atlas.commit import SOMA, Ledger, belongs, read_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scim.atlas.commit import Manifest
    from scim.atlas.storage import Storage, StoredFile

_SMALL = re.compile(r"/__schema/|/__commits/|/__meta/|/__fragment_metadata\.tdb$")
"""Files that TileDB reads without comparing a checksum of its own."""

_GROUP = "/__tiledb_group.tdb"
_LAYOUT = re.compile(rf"{SOMA}/((.+/)?(__group|__meta)/|obs/__schema/)")
"""What groups hold, of what kind they and the arrays are, and the columns of obs."""

_N_PARALLEL = 8

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
        self.check_layout()
        prefix = f"{SOMA}/{array}/"
        listed = {name: facts for name, facts in self.ledger.items() if name.startswith(prefix)}
        unprotected = _is_unchecked if later_columns and array == "obs" else _is_small
        self._compare(listed, self._storage.files(prefix.rstrip("/")), unprotected)
        self._seen.add((array, later_columns))

    def check_layout(self) -> None:
        """Check what says which arrays there are and which columns obs has, once: needed to open the experiment.

        Raises
        ------
        FormatError
            A file differs from what was committed.
        """
        if ("", False) in self._seen:
            return
        folders = {name.rpartition("/")[0] for name in self.ledger if _LAYOUT.match(name)}
        listed = {name: facts for name, facts in self.ledger.items() if name.rpartition("/")[0] in folders}
        with ThreadPoolExecutor(_N_PARALLEL) as pool:
            found = [file for some in pool.map(self._storage.files, sorted(folders)) for file in some]
        self._compare(listed, found, lambda _: True)
        for name in (name for name in self.ledger if name.endswith(_GROUP)):
            if not self._storage.exists(name):
                self._refuse(name, "is missing")
        self._seen.add(("", False))

    def check_model(self, folder: str) -> None:
        """Check the files of a model.

        Raises
        ------
        FormatError
            A file differs from what was committed.
        """
        listed = {name: facts for name, facts in self.ledger.items() if name.startswith(f"{folder}/")}
        there = [file for file in self._storage.files(folder) if file.name in listed]
        self._compare(listed, there, lambda _: True)

    def _compare(self, listed: Ledger, files: Sequence[StoredFile], unprotected: Callable[[str], bool]) -> None:
        """Compare files with the ledger: names and sizes of all, the content of those that TileDB does not check."""
        found = {file.name: file.n_bytes for file in files if belongs(file.name, self._manifest)}
        for name in sorted(set(listed) - set(found)):
            self._refuse(name, "is missing")
        for name in sorted(set(found) - set(listed)):
            self._refuse(name, "was never committed")
        for name, (n_bytes, digest) in listed.items():
            if found[name] != n_bytes:
                self._refuse(name, f"has {found[name]} bytes, expected {n_bytes}")
            if digest is not None and unprotected(name) and self._storage.digest(name) != digest:
                self._refuse(name, "has changed since it was committed")

    def _refuse(self, name: str, problem: str) -> None:
        msg = (
            f"{self._storage.uri}/{name} {problem}. If the atlas was vacuumed since it was opened, open it again; "
            "otherwise it is damaged: scim.atlas.verify() says what is, and a copy of the atlas has it."
        )
        raise FormatError(msg)


def _is_small(name: str) -> bool:
    return _SMALL.search(name) is not None


def _is_unchecked(name: str) -> bool:
    column = _COLUMN_FILE.search(name)
    return _is_small(name) or (column is not None and int(column[1]) >= _N_CHECKED)
