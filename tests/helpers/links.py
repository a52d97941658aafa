"""Links in an atlas to files and folders of someone else, and everything that a user does with an atlas."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

import scim
from helpers import fakes
from scim.atlas.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_WRITE = "__9999999999999_9999999999999_0123456789abcdef0123456789abcdef"

EXISTING = (
    *("atlas.json", "commits", "ledger", "soma", "model", "index", "names", "removed", "panels", "samples"),
    *("expression", "models", "commits/000001.json", "index/v000003", "index/v000003/ids.npy", "names/000002.npy"),
    *("model/weights.safetensors", "soma/obs", "soma/ms", "soma/ms/RNA/obsm/X_scim", "soma/obs/__fragments"),
    *("soma/obs/__schema", "soma/__group", "soma/obs/__fragments/*", "soma/obs/__fragments/*/a0.tdb"),
    *("soma/obs/__commits/*", "soma/obs/__schema/__1*", "soma/__tiledb_group.tdb"),
)
"""Parts of the atlas that a link replaces, by the first that a pattern finds."""

NEW = (
    *("lock", "journal.json", "lock/0123456789abcdef0123456789abcdef.json", "index/v000099", "names/000099.npy"),
    *(".atlas.json.0a1b2c3d.tmp", ".schema-abcdefgh.tmp", "index/.making-abcdefgh", "index/.v000099.0a1b2c3d.tmp"),
    *(".model.0a1b2c3d.old", "models/000099", f"soma/obs/__fragments/{_WRITE}_22", f"soma/obs/__schema/{_WRITE}"),
    *(f"soma/obs/__commits/{_WRITE}_22.wrt", "soma/other", "notes.txt", "model/notes.txt"),
)
"""Names at which a link is put where nothing was."""

FOREIGN = (
    *(
        "notes.txt",
        "index/notes.txt",
        "index/v000003/notes.txt",
        "names/thesis.npy",
        "lock/notes.json.txt",
        ".notes.tmp",
    ),
    *("soma/notes.txt", "soma/obs/__fragments/notes.txt", "index/.bashrc", "model/notes.txt", "commits/notes.json"),
    *("names/.thesis.docx.0a1b2c3d.tmp", "index/v000099/notes.txt", ".schema-abcdefgh.tmp/notes.txt"),
)
"""Names of files that someone keeps in the folder of an atlas."""


def _changed(path: Path, change: Callable[[Any], object]) -> None:
    with scim.atlas.open(path, "w", timeout=0) as atlas:
        change(atlas)


def _read(path: Path) -> None:
    with scim.atlas.open(path) as atlas:
        atlas.obs()
        atlas.embeddings(atlas.ids[:5])
        atlas.index.query(np.eye(1, 16, dtype=np.float32), 3)
        atlas.info()
        assert atlas.model.latent_dim == 16


def _append(atlas: Any) -> None:
    atlas.append(fakes.cells(20, seed=9), study="nine", label_key="cell_type", counts=True)


OPERATIONS: dict[str, Callable[[Path], object]] = {
    "read": _read,
    "append": lambda path: _changed(path, _append),
    "remove": lambda path: _changed(path, lambda atlas: atlas.remove("study == 'one'")),
    "build_index": lambda path: _changed(path, lambda atlas: atlas.build_index()),
    "compact": lambda path: _changed(path, lambda atlas: atlas.compact()),
    "vacuum": lambda path: _changed(path, lambda atlas: atlas.vacuum()),
    "reembed": lambda path: _changed(path, lambda atlas: atlas.reembed(fakes.tiny_model(1))),
    "verify": scim.atlas.verify,
    "repair": lambda path: scim.atlas.verify(path, repair=True, timeout=0),
    "create": lambda path: scim.atlas.create(path, model=fakes.tiny_model(), overwrite=True).close(),
    "sweep": lambda path: Storage.of(path).sweep(),
}


def put_link(atlas: Path, place: str, outside: Path) -> Path:
    """Move a part of the atlas outside, and put a link to it in its place; a file and a folder of others are there too.

    At a name that is new the link leads to the folder of others, or, if it has a suffix, to their file.
    """
    outside.mkdir()
    (outside / "thesis.docx").write_bytes(b"years of work")
    (outside / "ids.npy").write_bytes(b"other work, under a name that scim gives")
    for name in (f"{_WRITE}_22.wrt", "__tiledb_group.tdb", "000099.npy", "index.json"):
        (outside / name).write_bytes(b"more of it")
    found = next(iter(sorted(atlas.glob(place))), None)
    link, target = atlas / place, outside / "thesis.docx"
    if found is not None:
        link, target = found, outside / "moved"
        shutil.move(found, target)
        if target.is_dir():
            (target / "thesis.docx").write_bytes(b"years of work")
    elif not link.suffix or link.name.startswith("."):
        target = outside
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(target)
    return link


def fingerprint(folder: Path) -> dict[str, Any]:
    """Return content, mode and time of everything in a folder, links not followed."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        stat = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
        target = str(path.readlink()) if path.is_symlink() else ""
        found[str(path)] = (stat.st_mode, stat.st_mtime_ns, stat.st_size, content, target)
    return found
