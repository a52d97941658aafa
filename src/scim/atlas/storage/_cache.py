"""Copies of remote folders, whole or not at all, within a limit of bytes.

`cache/<key>/<name>`, with `+` for the `/` of the name. A copy is not changed once it has its name: the key says which
content it is, so that another content has another key.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scim._core.errors import FormatError, StorageError
from scim._core.log import logger
from scim._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from scim.atlas.storage._storage import Storage

ABANDONED_AFTER = 3600.0
"""Seconds after the last byte after which a download is taken for one that was killed."""


class _Copy(NamedTuple):
    used: float
    n_bytes: int
    folder: Path


def cached(storage: Storage, name: str, key: str, check: Callable[[Path], object]) -> Path:
    """Return a folder of this machine that holds the folder `name` of an atlas.

    Parameters
    ----------
    storage
        The atlas. One in a folder is not copied.
    name
        Name of its folder.
    key
        Names the content, in one part; a copy under this key and name is used as it is.
    check
        Is called with what was downloaded and raises if it is damaged.

    Returns
    -------
    The folder. Do not write into it.

    Raises
    ------
    FileNotFoundError
        The atlas has no such folder.
    FormatError
        It is damaged.
    StorageError
        The storage does not answer, or the copy has no room.
    """
    if storage.path is not None:
        return storage.path / name
    if not key or "/" in key or key.startswith("."):
        msg = f"Expected a key that can name a folder, got {key!r}."
        raise ValueError(msg)
    folder = _root() / key / name.replace("/", "+")
    with contextlib.suppress(FileNotFoundError):
        os.utime(folder)  # it was used just now
        return folder
    _make_room(sum(file.n_bytes for file in storage.files(name)), storage.child(name))
    _download(storage, name, folder, check)
    return folder


def _download(storage: Storage, name: str, folder: Path, check: Callable[[Path], object]) -> None:
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.mkdir(parents=True)
        storage.download(name, temporary)
        _check(storage, name, temporary, check)
        if not folder.exists():
            temporary.rename(folder)
            logger.info("copied %s to %s", storage.child(name), folder)
    except (StorageError, FileNotFoundError):
        raise
    except OSError as error:
        if folder.exists():  # another process was faster, and a folder that is not empty is not replaced
            return
        msg = f"{storage.child(name)!r} could not be copied to {str(folder.parent)!r}: {error}."
        msg += " Make room there, or name another folder in scim.settings.storage.cache."
        raise StorageError(msg) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check(storage: Storage, name: str, folder: Path, check: Callable[[Path], object]) -> None:
    try:
        check(folder)
    except (OSError, ValueError, LookupError) as error:
        msg = f"{storage.child(name)!r} is damaged, as it was downloaded: {error} The copy was removed; try again,"
        msg += " and if that fails too the atlas itself is damaged."
        raise FormatError(msg) from error


def _root() -> Path:
    if settings.storage.cache:
        return Path(settings.storage.cache).expanduser().resolve()
    import platformdirs  # noqa: PLC0415  (only who reads from S3 needs it)

    return Path(platformdirs.user_cache_dir("scim"))


def _make_room(n_bytes: int, uri: str) -> None:
    """Remove the copies that were not used for longest until `n_bytes` more are within the limit, and on the disk."""
    root, limit = _root(), settings.storage.cache_bytes
    if n_bytes > limit:
        msg = f"{uri!r} has {_gb(n_bytes)}, more than the whole cache may hold ({_gb(limit)});"
        msg += " raise scim.settings.storage.cache_bytes or SCIM_CACHE_BYTES."
        raise StorageError(msg)
    root.mkdir(parents=True, exist_ok=True)
    copies = sorted(_copies(root))
    held = sum(copy.n_bytes for copy in copies)
    if (free := shutil.disk_usage(root).free + held) < n_bytes:
        msg = f"{uri!r} has {_gb(n_bytes)}, but the disk of {str(root)!r} has room for {_gb(free)}."
        msg += " Free some, or name another folder in scim.settings.storage.cache or SCIM_CACHE."
        raise StorageError(msg)
    for copy in copies:
        if held + n_bytes <= limit and n_bytes <= shutil.disk_usage(root).free:
            return
        _remove(copy.folder)
        held -= copy.n_bytes


def _copies(root: Path) -> list[_Copy]:
    found = []
    for folder in root.glob("*/*/"):
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            stats = [path.stat() for path in folder.rglob("*") if path.is_file()]
            used = folder.stat().st_mtime
            if not folder.name.startswith("."):
                found.append(_Copy(used, sum(stat.st_size for stat in stats), folder))
            elif max([used, *(stat.st_mtime for stat in stats)]) < time.time() - ABANDONED_AFTER:
                shutil.rmtree(folder, ignore_errors=True)
    return found


def _remove(folder: Path) -> None:
    # It loses its name first, so that nobody finds half of it. Those that have its files open keep them.
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    with contextlib.suppress(OSError):  # another process was faster, or (Windows) reads it
        folder.rename(aside)
        shutil.rmtree(aside)


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.3g} GB"
