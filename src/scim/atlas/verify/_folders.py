"""Folders of models and of parts of an index, as files: without opening them for use."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from scim import index as knn
from scim._core.errors import FormatError
from scim.atlas._models import load_model
from scim.atlas.verify._problem import Problem, said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scim.atlas.commit import IndexPart, Space
    from scim.atlas.storage import Storage

_HEADER = "index.json"


def check_model(storage: Storage, uid: str, space: Space) -> Iterator[Problem]:
    """Load the model; it must be the one that embedded the cells."""
    if space.folder is not None:
        try:
            load_model(storage, uid, space)
        except FormatError as error:
            yield Problem("model", space.folder, said(error))


def check_part(storage: Storage, part: IndexPart) -> Iterator[Problem]:
    """Compare the files of a part with the checksums in its header, and the header with the one committed."""
    header = f"{part.folder}/{_HEADER}"
    try:
        digest, files = read_header(storage, part)
    except FileNotFoundError:
        yield Problem("index", header, "is missing")
        return
    except (ValueError, LookupError, TypeError) as error:
        yield Problem("index", header, said(error).partition(" Build it again")[0])
        return
    if digest != part.digest:
        yield Problem("index", header, "is the header of another index than the one that was committed")
        return
    found = {file.name: file.n_bytes for file in storage.files(part.folder)}
    for name, (n_bytes, checksum) in files.items():
        if name not in found:
            yield Problem("index", name, "is missing")
        elif found[name] != n_bytes:
            yield Problem("index", name, f"has {found[name]} bytes, expected {n_bytes}: truncated or replaced")
        elif storage.digest(name) != checksum:
            yield Problem("index", name, "has changed since it was built: its checksum differs")


def read_header(storage: Storage, part: IndexPart) -> tuple[str, dict[str, tuple[int, str]]]:
    """Return the digest of the header of a part, and size and checksum of each of its files."""
    raw = storage.read(f"{part.folder}/{_HEADER}")
    with tempfile.TemporaryDirectory() as room:
        (Path(room) / _HEADER).write_bytes(raw)
        digest = knn.header_digest(room)
    files = json.loads(raw)["files"]
    return digest, {f"{part.folder}/{name}": (facts["bytes"], facts["sha256"]) for name, facts in files.items()}


def how_built(storage: Storage, part: IndexPart) -> tuple[str, float]:
    """Return kind and recall of a part, as far as its header, damaged or not, still says them."""
    try:
        facts = json.loads(storage.read(f"{part.folder}/{_HEADER}"))["segments"][0]
        kind, recall = str(facts["kind"]), float(facts["params"].get("recall", 0.99))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, FormatError):
        return "auto", 0.99
    known = kind in ("exact", "ivf", "graph") and 0 < recall <= 1
    return (kind, recall) if known else ("auto", 0.99)
