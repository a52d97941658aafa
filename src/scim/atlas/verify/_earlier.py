"""What earlier versions need that the present one does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scim._core.errors import FormatError
from scim.atlas.commit import LEDGER, commit_file, commits, load_array, read_ledger, read_manifest
from scim.atlas.verify._files import compared
from scim.atlas.verify._folders import check_part
from scim.atlas.verify._problem import Problem, said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scim.atlas.commit import Manifest, StoredArray
    from scim.atlas.storage import Storage


def check_earlier(storage: Storage, manifest: Manifest, known: set[str]) -> Iterator[Problem]:
    """Check the commits before this one, and their files but for those `known` already."""
    # Each has a ledger, so that a lost file of the first is noticed too.
    listed = [file.name.removeprefix(f"{LEDGER}/").removesuffix(".json") for file in storage.files(LEDGER)]
    numbers = {*commits(storage), *(int(name) for name in listed if name.isdigit())}
    for number in range(min(numbers, default=manifest.number), manifest.number):
        name = commit_file(number)
        try:
            earlier = read_manifest(storage, name)
        except FileNotFoundError:
            yield Problem("earlier version", name, "is missing")
        except FormatError as error:
            yield Problem("earlier version", name, said(error))
        else:
            yield from _check(storage, earlier, known)


def _check(storage: Storage, earlier: Manifest, known: set[str]) -> Iterator[Problem]:
    """Check the files of one version, and add them to those known."""
    try:
        ledger = {name: facts for name, facts in read_ledger(storage, earlier.ledger).items() if name not in known}
    except FormatError as error:
        yield Problem("earlier version", earlier.ledger.name, said(error))
    else:
        folders = {name.rpartition("/")[0] for name in ledger}
        found = {file.name: file.n_bytes for folder in sorted(folders) for file in storage.files(folder)}
        yield from compared(storage, ledger, found, "earlier version")
        known |= set(ledger)
    for entry in arrays_of(earlier):
        if entry.name not in known:
            known.add(entry.name)
            try:
                load_array(storage, entry)
            except (FormatError, ValueError) as error:
                yield Problem("earlier version", entry.name, said(error))
    for space in (earlier.space, earlier.draft):
        for part in () if space is None or space.index is None else space.index.parts:
            if part.folder not in known:
                known.add(part.folder)
                for problem in check_part(storage, part):
                    yield problem._replace(part="earlier version")


def arrays_of(manifest: Manifest) -> list[StoredArray]:
    """Return the arrays beside the store that a version has."""
    removed = [] if manifest.removed is None else [manifest.removed]
    return [*manifest.names, *removed, *(counted.panel for counted in manifest.counted)]
