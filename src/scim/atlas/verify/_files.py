"""The files of an atlas against its manifest and file inventory; the files of its earlier versions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from scim._core import FormatError, progress
from scim.atlas._expression import read_expression
from scim.atlas._models import load_model
from scim.atlas._samples import read_sample
from scim.atlas.commit import (
    COMMITS,
    FILE,
    INVENTORY,
    SOMA,
    Inventory,
    belongs,
    commit_file,
    commits,
    is_older_copy,
    load_ids,
    load_names,
    needed_files,
    read_inventory,
    read_journal,
    read_manifest,
    read_stored,
    uncommitted,
)
from scim.atlas.storage import number_of
from scim.atlas.verify._problem import Part, Problem, is_damaged, run_check, try_to_read
from scim.index._files import HEADER, parse_header
from scim.io import parse_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scim.atlas.commit import IndexPart, Manifest, StoredArray
    from scim.atlas.storage import Storage

_MOST_GENES = 1 << 31


def check_manifest(storage: Storage) -> tuple[Manifest | None, list[Problem]]:
    """Return the manifest, compared with the copy of its commit; `None`: it cannot be read, but there are commits."""
    try:
        manifest = read_manifest(storage)
    except (FileNotFoundError, FormatError) as error:
        if not commits(storage):
            raise
        return None, [Problem.of("manifest", FILE, error)]
    if is_older_copy(storage, manifest):
        last = commit_file(commits(storage)[-1])
        what = f"is of version {manifest.number}, but {last} is a later commit: it was replaced by an older copy"
        return None, [Problem("manifest", FILE, what)]
    name = commit_file(manifest.number)
    try:
        same = read_manifest(storage, name) == manifest
    except (FileNotFoundError, FormatError) as error:
        return manifest, [Problem.of("manifest", name, error)]
    what = f"differs from {name}, of which it should be a copy"
    return manifest, [] if same else [Problem("manifest", FILE, what)]


def check_leftovers(storage: Storage, manifest: Manifest) -> Iterator[Problem]:
    """Find files of a write that did not finish."""
    files, folders = uncommitted(storage, manifest.timestamp, manifest.number)
    names = [*files, *folders, *storage.unfinished()]
    journal = read_journal(storage)
    if journal is not None or names:
        writer, where = ("a write", names[0]) if journal is None else (journal.what, "journal.json")
        what = f"{writer} left {len(names)} files that were never committed; readers do not see them"
        yield Problem("leftover", where, what)


def known_files(storage: Storage, manifest: Manifest) -> tuple[Inventory, list[Problem]]:
    """Return the file inventory; if it is damaged, the same files in the last earlier one that can be read."""
    try:
        return read_inventory(storage, manifest.inventory), []
    except FormatError as error:
        problems = [Problem.of("inventory", manifest.inventory.name, error)]
    folders = [version.folder for version in manifest.embeddings]
    for number in reversed([number for number in commits(storage) if number < manifest.number]):
        try:
            known = read_inventory(storage, read_manifest(storage, commit_file(number)).inventory)
        except (FormatError, FileNotFoundError):
            continue
        return {
            name: facts
            for name, facts in known.items()
            if name.rpartition("/")[0] in folders or (name.startswith(f"{SOMA}/") and belongs(name, manifest))
        }, problems
    return {}, problems


def check_files(storage: Storage, manifest: Manifest, inventory: Inventory, *, complete: bool) -> Iterator[Problem]:
    """Compare files of the store and the models with the inventory; one that is `complete` tells foreign files."""
    found = {file.name: file.n_bytes for file in needed_files(storage, manifest)}
    for name in sorted(set(found) - set(inventory)) if complete else ():
        if name.startswith(f"{SOMA}/"):
            yield Problem("foreign", name, "was never committed, but is read with the others")
    yield from _compare(storage, inventory, found)


def _compare(
    storage: Storage, inventory: Inventory, found: dict[str, int], part: Part | None = None, *, since: str = "committed"
) -> Iterator[Problem]:
    """Compare the sizes of the files that exist, and their checksums, with an inventory."""
    for name, (n_bytes, checksum) in progress(inventory.items(), total=len(inventory), desc="checksums", unit="file"):
        of: Part = part or ("store" if name.startswith(f"{SOMA}/") else "model")
        if name not in found:
            yield Problem(of, name, "is missing")
        elif found[name] != n_bytes:
            yield Problem(of, name, f"has {found[name]} bytes, expected {n_bytes}: truncated or replaced")
        elif checksum is not None and storage.checksum(name) != checksum:
            yield Problem(of, name, f"has changed since it was {since}: its checksum differs")


def check_beside(storage: Storage, manifest: Manifest, problems: Sequence[Problem]) -> Iterator[Problem]:
    """Check the arrays, models and index parts beside the store, each by itself."""
    for entry, (part, read) in _readers(manifest).items():
        yield from try_to_read(part, entry.name, read, storage, entry)
    for version in manifest.embeddings:
        if version.folder is not None and not is_damaged(problems, version.folder):
            yield from try_to_read("model", version.folder, load_model, storage, manifest.uid, version)
        for index_part in version.parts:
            yield from run_check("index", index_part.folder, _check_part, storage, index_part)


def _readers(manifest: Manifest) -> dict[StoredArray, tuple[Part, Callable[[Storage, StoredArray], object]]]:
    """Return the part of the atlas of each array beside the store, and how it is read."""
    removed, versions = [manifest.removed] if manifest.removed else [], manifest.embeddings
    return {
        **dict.fromkeys(manifest.names, ("names", partial(load_names, most=manifest.n_rows))),
        **dict.fromkeys(removed, ("removed", partial(load_ids, most=manifest.n_rows))),
        **dict.fromkeys(
            (counted.panel for counted in manifest.counted), ("store", partial(load_ids, most=_MOST_GENES))
        ),
        **dict.fromkeys(manifest.samples, ("samples", partial(read_sample, n_rows=manifest.n_rows))),
        **dict.fromkeys((v.expression for v in versions if v.expression is not None), ("index", read_expression)),
    }


def _check_part(storage: Storage, part: IndexPart) -> Iterator[Problem]:
    """Compare the files of a part with the checksums in its header, and the header with the one committed."""
    header = f"{part.folder}/{HEADER}"
    try:
        content, digest = parse_header(storage.read(header), header)
    except (FileNotFoundError, FormatError) as error:
        problem = Problem.of("index", header, error)
        yield problem._replace(what=problem.what.partition(" Build it again")[0])
        return
    if digest != part.digest:
        yield Problem("index", header, "is the header of another index than the one that was committed")
        return
    files: Inventory = {
        f"{part.folder}/{name}": (entry["bytes"], entry["sha256"]) for name, entry in content.files.items()
    }
    found = {file.name: file.n_bytes for file in storage.files(part.folder)}
    yield from _compare(storage, files, found, "index", since="built")


def how_built(storage: Storage, part: IndexPart) -> tuple[str, float]:
    """Return kind and recall of a part, as far as they can be read from its header, damaged or not."""
    try:
        facts = parse_object(storage.read(f"{part.folder}/{HEADER}"), HEADER)["segments"][0]
        kind, recall = str(facts["kind"]), float(facts["params"].get("recall", 0.99))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return "auto", 0.99
    known = kind in ("exact", "ivf", "graph") and 0 < recall <= 1
    return (kind, recall) if known else ("auto", 0.99)


def check_earlier(storage: Storage, manifest: Manifest, known: set[str]) -> Iterator[Problem]:
    """Check the commits before this one, and their files but for those `known` already."""
    # Each has an inventory, so that a lost file of the first is noticed too.
    found = {*commits(storage), *(number_of(file.name) for file in storage.files(INVENTORY))}
    numbers = sorted(number for number in found if 0 <= number < manifest.number)
    if numbers and (n_lost := manifest.number - numbers[0] - len(numbers)):
        yield Problem("earlier version", COMMITS, f"lacks {n_lost} of the versions from {numbers[0]} on")
    for number in numbers:
        name = commit_file(number)
        try:
            earlier = read_manifest(storage, name)
        except (FileNotFoundError, FormatError) as error:
            yield Problem.of("earlier version", name, error)
        else:
            yield from _check_version(storage, earlier, known)


def _check_version(storage: Storage, earlier: Manifest, known: set[str]) -> Iterator[Problem]:
    """Check the files of a version, and add them to `known`."""
    try:
        committed = read_inventory(storage, earlier.inventory)
    except FormatError as error:
        yield Problem.of("earlier version", earlier.inventory.name, error)
    else:
        inventory = {name: facts for name, facts in committed.items() if name not in known}
        folders = {name.rpartition("/")[0] for name in inventory}
        found = {file.name: file.n_bytes for folder in sorted(folders) for file in storage.files(folder)}
        yield from _compare(storage, inventory, found, "earlier version")
        known |= set(inventory)
    for entry in _arrays_of(earlier):
        if entry.name not in known:
            known.add(entry.name)
            yield from try_to_read("earlier version", entry.name, read_stored, storage, entry)
    for part in (part for version in earlier.embeddings for part in version.parts):
        if part.folder not in known:
            known.add(part.folder)
            for problem in _check_part(storage, part):
                yield problem._replace(part="earlier version")


def _arrays_of(manifest: Manifest) -> list[StoredArray]:
    """Return the arrays beside the store that a version has, without samples: only the next build reads them."""
    removed = [] if manifest.removed is None else [manifest.removed]
    panels = [counted.panel for counted in manifest.counted]
    expression = [version.expression for version in manifest.embeddings if version.expression is not None]
    return [*manifest.names, *removed, *panels, *expression]


def names_of(manifest: Manifest, inventory: Inventory) -> set[str]:
    """Return the names of the files and folders of a version."""
    parts = [part.folder for version in manifest.embeddings for part in version.parts]
    return {*inventory, *(entry.name for entry in _arrays_of(manifest)), *parts}
