"""The files of an atlas against its manifest and ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scim._core.errors import FormatError
from scim._core.log import progress
from scim.atlas.commit import (
    FILE,
    SOMA,
    Ledger,
    belongs,
    commit_file,
    commits,
    is_older_copy,
    needed_files,
    read_journal,
    read_ledger,
    read_manifest,
    uncommitted,
)
from scim.atlas.verify._problem import Part, Problem, said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scim.atlas.commit import Manifest
    from scim.atlas.storage import Storage


def check_manifest(storage: Storage) -> tuple[Manifest | None, list[Problem]]:
    """Read `atlas.json` and compare it with the copy of its commit; `None`: nothing else can be checked.

    Raises
    ------
    FileNotFoundError, FormatError
        It cannot be read, and there is no commit to bring back.
    """
    try:
        manifest = read_manifest(storage)
    except (FileNotFoundError, FormatError) as error:
        if not commits(storage):
            raise
        return None, [Problem("manifest", FILE, "is missing" if isinstance(error, OSError) else said(error))]
    if is_older_copy(storage, manifest):
        last = commit_file(commits(storage)[-1])
        what = f"says version {manifest.number}, but {last} is a later commit: it was replaced by an older copy"
        return None, [Problem("manifest", FILE, what)]
    return manifest, list(_check_copy(storage, manifest))


def _check_copy(storage: Storage, manifest: Manifest) -> Iterator[Problem]:
    name = commit_file(manifest.number)
    try:
        kept = read_manifest(storage, name)
    except FileNotFoundError:
        yield Problem("manifest", name, "is missing")
    except FormatError as error:
        yield Problem("manifest", name, said(error))
    else:
        if kept != manifest:
            yield Problem("manifest", FILE, f"differs from {name}, of which it should be a copy")


def check_leftovers(storage: Storage, manifest: Manifest) -> Iterator[Problem]:
    """Find what a write that did not finish has left."""
    files, others = uncommitted(storage, manifest.timestamp, manifest.number)
    others += _begun(storage)
    journal = read_journal(storage)
    if journal is not None or files or others:
        whose, where = ("a write", (files + others)[0]) if journal is None else (journal.what, "journal.json")
        what = f"{whose} left {len(files) + len(others)} files that were never committed; readers do not see them"
        yield Problem("leftover", where, what)


def _begun(storage: Storage) -> list[str]:
    """Return what would have got its name when it was complete."""
    if storage.path is None:
        return []
    folders = [path for path in storage.path.iterdir() if path.is_dir() and path.name not in (SOMA, "lock")]
    found = [path for folder in [storage.path, *folders] for path in folder.glob(".*.tmp")]
    return sorted(path.relative_to(storage.path).as_posix() for path in found)


def known_files(storage: Storage, manifest: Manifest) -> tuple[Ledger, list[Problem]]:
    """Return the ledger; if it is damaged, what the last one before it that can be read knows of the same files."""
    try:
        return read_ledger(storage, manifest.ledger), []
    except FormatError as error:
        problems = [Problem("ledger", manifest.ledger.name, said(error))]
    folders = [space.folder for space in (manifest.space, manifest.draft) if space is not None]
    for number in reversed([number for number in commits(storage) if number < manifest.number]):
        try:
            known = read_ledger(storage, read_manifest(storage, commit_file(number)).ledger)
        except (FormatError, FileNotFoundError):
            continue
        needed = {name for name in known if name.rpartition("/")[0] in folders}
        needed |= {name for name in known if name.startswith(f"{SOMA}/") and belongs(name, manifest)}
        return {name: known[name] for name in known if name in needed}, problems
    return {}, problems


def check_files(storage: Storage, manifest: Manifest, ledger: Ledger, *, whole: bool) -> Iterator[Problem]:
    """Compare files of the store and the models with the ledger: there, of their size, with their checksum.

    Parameters
    ----------
    whole
        Whether the ledger has all files, so that others are foreign.
    """
    found = {file.name: file.n_bytes for file in needed_files(storage, manifest)}
    if whole:
        for name in sorted(set(found) - set(ledger)):
            if name.startswith(f"{SOMA}/"):
                yield Problem("foreign", name, "was never committed, but is read with the others")
    yield from compared(storage, ledger, found)


def compared(storage: Storage, ledger: Ledger, found: dict[str, int], part: Part | None = None) -> Iterator[Problem]:
    """Compare files that were found, and their sizes, with a ledger."""
    for name, (n_bytes, digest) in progress(ledger.items(), total=len(ledger), desc="checksums", unit="file"):
        of: Part = part or ("store" if name.startswith(f"{SOMA}/") else "model")
        if name not in found:
            yield Problem(of, name, "is missing")
        elif found[name] != n_bytes:
            yield Problem(of, name, f"has {found[name]} bytes, expected {n_bytes}: truncated or replaced")
        elif digest is not None and storage.digest(name) != digest:
            yield Problem(of, name, "has changed since it was committed: its checksum differs")
