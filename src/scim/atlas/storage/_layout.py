"""The names that scim gives to the files of an atlas: nothing else is deleted, or copied out of a bucket."""

from __future__ import annotations

import re

LOCKS = "lock"
"""Folder of the leases of writers."""

_NUMBER = r"(\d{6,18})"  # of the commit that made the entry
_INDEX, _MODEL = r"[\w-][\w.-]*\.(npy|json)", r"[\w-]+\.(json|tsv|safetensors)"
# TileDB begins the names of what it makes with two underscores; those in front are names of arrays and groups.
_WRITE = r"__\d+_\d+_\w+"
_TILEDB = rf"__tiledb_group\.tdb|__(group|meta|schema|commits|fragment_meta)/{_WRITE}(\.\w+)?"
_TILEDB += rf"|__schema/__enumerations/\w+|__fragments/{_WRITE}/\w+\.tdb"

_ENTRIES = {  # the entries of folders, and the files in those that are folders themselves
    "index": (rf"v{_NUMBER}", f"/{_INDEX}"),
    "names": (rf"{_NUMBER}\.npy", ""),
    "removed": (rf"{_NUMBER}\.npy", ""),
    "panels": (rf"{_NUMBER}-\d+\.npy", ""),
    "samples": (rf"{_NUMBER}-\d+\.npz", ""),
    "expression": (rf"{_NUMBER}\.npz", ""),
    "models": (_NUMBER, f"/{_MODEL}"),
    "commits": (rf"{_NUMBER}\.json", ""),
    "ledger": (rf"{_NUMBER}\.json", ""),
}
NUMBERED = tuple(_ENTRIES)
"""Folders with entries, files or folders, that bear the number of the commit that made them."""

FOLDERS = (*NUMBERED, LOCKS, "model", "soma")
"""All folders of an atlas."""

_FILES = [f"{folder}/{entry}{files}" for folder, (entry, files) in _ENTRIES.items()]
_FILES += [r"(atlas|journal)\.json", rf"{LOCKS}/\w+\.json", f"model/{_MODEL}", f"soma(/[^/]+)*/({_TILEDB})"]
_FILES += [r"index/\.making-\w+/embeddings\.npy", rf"\.schema-\w+\.tmp/[^/]+/({_TILEDB})"]
_FILE = re.compile("|".join(_FILES), re.ASCII)
_ENTRY = {folder: re.compile(entry, re.ASCII) for folder, (entry, _) in _ENTRIES.items()}
# A file or folder has another name until it is complete, and a folder another one while it is replaced.
_BEFORE = re.compile(r"(?:(?<=/)|^)\.([^/]+)\.[0-9a-f]{8}\.(?:tmp|old)(?=/|$)")
_TEMPORARY = re.compile(rf"{_BEFORE.pattern}|\.(making-|schema-)\w+(\.tmp)?", re.ASCII)


def is_ours(name: str) -> bool:
    """Return whether scim gives this name to a file of an atlas, also one that is not complete."""
    return _FILE.fullmatch(when_complete(name)) is not None


def when_complete(name: str) -> str:
    """Return the name that a file will have when it, and each folder that it is in, is complete."""
    return _BEFORE.sub(r"\1", name) if "/." in f"/{name}" else name


def is_temporary(part: str) -> bool:
    """Return whether a file or folder of this name, without its folder, is not complete and does not count."""
    return _TEMPORARY.fullmatch(part) is not None


def number_of(entry: str) -> int:
    """Return the number of the commit that made an entry, as "index/v000012"; -1 if scim gives no such name."""
    folder, _, name = entry.partition("/")
    match = _ENTRY[folder].fullmatch(name) if folder in _ENTRY else None
    return -1 if match is None else int(match[1])
