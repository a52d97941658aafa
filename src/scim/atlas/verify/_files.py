"""The files of an atlas against its ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scim._core.errors import FormatError
from scim._core.log import progress
from scim.atlas.commit import FILE, commit_file, read_journal, read_ledger, read_manifest, store_files, uncommitted
from scim.atlas.verify._problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scim.atlas.commit import Manifest
    from scim.atlas.storage import Storage


def check_commit(storage: Storage, manifest: Manifest) -> Iterator[Problem]:
    """Compare `atlas.json` with the copy of its commit."""
    name = commit_file(manifest.number)
    try:
        kept = read_manifest(storage, name)
    except (FileNotFoundError, FormatError) as error:
        yield Problem("manifest", name, str(error))
        return
    if kept != manifest:
        yield Problem("manifest", name, f"differs from {FILE}")


def check_leftovers(storage: Storage, manifest: Manifest) -> Iterator[Problem]:
    """Find what a write that did not finish has left."""
    files, others = uncommitted(storage, manifest.timestamp, manifest.number)
    journal = read_journal(storage)
    if journal is not None or files or others:
        whose, where = ("a write", (files + others)[0]) if journal is None else (journal.what, "journal.json")
        what = f"{whose} left {len(files) + len(others)} files that were never committed; readers do not see them"
        yield Problem("leftover", where, what)


def check_store_files(storage: Storage, manifest: Manifest) -> Iterator[Problem]:
    """Compare every file of the store with the ledger: there, of its size, with its checksum; and no other."""
    ledger = read_ledger(storage, manifest.ledger)
    found = {file.name: file.n_bytes for file in store_files(storage) if file.belongs_to(manifest)}
    for name in sorted(set(found) - set(ledger)):
        yield Problem("foreign", name, "was never committed, but is read with the others")
    for name, (n_bytes, digest) in progress(ledger.items(), total=len(ledger), desc="checksums", unit="file"):
        if name not in found:
            yield Problem("store", name, "is missing")
        elif found[name] != n_bytes:
            yield Problem("store", name, f"has {found[name]} bytes, expected {n_bytes}: truncated or replaced")
        elif digest is not None and storage.digest(name) != digest:
            yield Problem("store", name, "has changed since it was committed: its checksum differs")
