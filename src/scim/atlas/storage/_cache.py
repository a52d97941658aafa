"""Copies of remote folders on this machine, complete or absent, within a limit of bytes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from scim._core import FormatError, StorageError, logger, settings
from scim.atlas.storage._layout import is_ours, when_complete
from scim.atlas.storage._local import ABANDONED_AFTER, temporary_path
from scim.io import files_below, inside, is_link, real_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from scim.atlas.storage._storage import Storage

_KEY = re.compile(r"[0-9a-f]{32}-[\w-]{1,200}", re.ASCII)  # the uid of an atlas, and what identifies the content


def cached(storage: Storage, name: str, key: str, check: Callable[[Path], object]) -> Path:
    """Return a folder of this machine that holds the folder `name` of an atlas; one in a folder is not copied.

    A copy is `cache/<key>/<name>`, with `+` for the `/` of the name, and never changes: the key identifies its content.
    `check` is called with the downloaded folder, and an error of it raises FormatError: the folder is damaged.
    StorageError is raised if the storage does not respond or the copy has no room.
    """
    if storage.path is not None:
        return inside(storage.path, name)
    if not _KEY.fullmatch(key):
        msg = f"Expected a key that can name a folder, as of an atlas with a uid of scim, got {key[:200]!r}."
        raise FormatError(msg)
    root = _cache_folder()
    folder = inside(root, f"{key}/{name.replace('/', '+')}")
    with contextlib.suppress(FileNotFoundError):
        os.utime(folder)  # it was used just now
        return folder
    _make_room(root, sum(file.n_bytes for file in storage.files(name)), storage.child(name))
    _download(storage, name, folder, check)
    return folder


def _cache_folder() -> Path:
    if settings.storage.cache:
        return real_path(settings.storage.cache, what="the cache")
    try:
        import platformdirs  # noqa: PLC0415  (optional)
    except ImportError as error:
        msg = 'Atlases on S3 are cached in the user\'s folder, which needs platformdirs: pip install "scim-atlas[s3]"; '
        msg += "or name a folder in scim.settings.storage.cache or SCIM_CACHE."
        raise ImportError(msg) from error
    return Path(platformdirs.user_cache_dir("scim"))


def _download(storage: Storage, name: str, folder: Path, check: Callable[[Path], object]) -> None:
    temporary = temporary_path(folder)
    try:
        temporary.mkdir(parents=True)
        storage.download(name, temporary)
        try:
            check(temporary)
        except (OSError, ValueError, LookupError) as error:
            msg = f"{storage.child(name)!r} is damaged, as it was downloaded: {error} Try again, or restore the atlas."
            raise FormatError(msg) from error
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


def _make_room(root: Path, n_bytes: int, uri: str) -> None:
    """Remove the least recently used copies until `n_bytes` more are within the limit, and on the disk."""
    limit = settings.storage.cache_bytes
    if n_bytes > limit:
        msg = f"{uri!r} has {_gb(n_bytes)}, more than the whole cache may hold ({_gb(limit)});"
        msg += " raise scim.settings.storage.cache_bytes or SCIM_CACHE_BYTES."
        raise StorageError(msg)
    root.mkdir(parents=True, exist_ok=True)
    copies = sorted(_copies(root))
    held = sum(size for _, size, _ in copies)
    if (free := shutil.disk_usage(root).free + held) < n_bytes:
        msg = f"{uri!r} has {_gb(n_bytes)}, but the disk of {str(root)!r} has room for {_gb(free)}."
        msg += " Free some, or name another folder in scim.settings.storage.cache or SCIM_CACHE."
        raise StorageError(msg)
    for _, size, folder in copies:
        if held + n_bytes <= limit and n_bytes <= shutil.disk_usage(root).free:
            return
        # It loses its name first, so that no reader finds half of it; open files stay readable.
        with contextlib.suppress(OSError):  # another process was faster, or (Windows) reads it
            shutil.rmtree(folder.rename(temporary_path(folder)))
        held -= size


def _copies(root: Path) -> list[tuple[float, int, Path]]:
    """Return time of last use, bytes and folder of each copy; abandoned downloads are deleted."""
    copies = []
    for key in (path for path in root.iterdir() if _KEY.fullmatch(path.name) and path.is_dir() and not is_link(path)):
        for folder in (path for path in key.iterdir() if path.is_dir() and not is_link(path)):
            with contextlib.suppress(FileNotFoundError, FormatError):  # removed by another process; not of scim
                stats = [_stat(entry, folder) for entry in files_below(folder)]
                used = folder.stat().st_mtime
                if not folder.name.startswith("."):
                    copies.append((used, sum(stat.st_size for stat in stats), folder))
                elif max([used, *(stat.st_mtime for stat in stats)]) < time.time() - ABANDONED_AFTER:
                    shutil.rmtree(folder, ignore_errors=True)
    return copies


def _stat(entry: os.DirEntry[str], folder: Path) -> os.stat_result:
    """Return the facts of a file of a copy; FormatError if scim gave it no such name."""
    name = f"{folder.name}/{entry.path[len(str(folder)) + 1 :]}".replace(os.sep, "/")
    if not is_ours(when_complete(name).replace("+", "/")):
        msg = f"{entry.path!r} is no file of a copy."
        raise FormatError(msg)
    return entry.stat(follow_symlinks=False)


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.3g} GB"
