"""Keep the machine code of kernels on disk where that is possible; where not, kernels work all the same.

numba keeps it in `NUMBA_CACHE_DIR`, beside the source or in the cache folder of the user, and fails where none of them
can be written, as in a container whose file system is read-only.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numba import config  # noqa: TID251  (beside `_core.numba`: its cache fails where it need not)
from numba.core import caching as _caching  # noqa: TID251

from scim._core.errors import error_text
from scim._core.log import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

caching: Any = _caching  # has no types
_REMEDY = "set NUMBA_CACHE_DIR to a folder that can be written"


class _Cache(caching.FunctionCache):  # type: ignore[misc]  # as above
    """The machine code of one kernel on disk. Damaged files are replaced; without room, nothing is kept."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # noqa: BLE001  (unpickling a damaged file may raise anything)
            logger.info("the compiled kernels in %s cannot be read (%s) and are replaced", self.cache_path, error)
        with self._or_none():
            self.flush()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with self._or_none():
            super().save_overload(sig, data)

    @contextlib.contextmanager
    def _or_none(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.disable()
            _log_none(error_text(error))


def keep_on_disk(compiled: Any, function: Any) -> Any:
    """Have a compiled function keep its machine code on disk, where numba would or in a temporary folder."""
    if hasattr(compiled, "enable_caching"):  # with NUMBA_DISABLE_JIT=1 it is the function itself
        compiled._cache = _cache_of(function)
    return compiled


def _cache_of(function: Any) -> Any:
    with cache_folder():
        try:
            return _Cache(function)
        except RuntimeError:  # "cannot cache function ...: no locator available"
            _log_none("no folder can be written")
            return caching.NullCache()


@contextlib.contextmanager
def cache_folder() -> Iterator[None]:
    """Have numba keep kernels that are defined within the block, of any package, in a folder that can be written."""
    before = config.CACHE_DIR  # type: ignore[attr-defined]  # set when numba starts
    config.CACHE_DIR = _temporary_folder() or before  # type: ignore[attr-defined]
    try:
        yield
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]


@functools.cache
def _temporary_folder() -> str | None:
    """Return a folder for compiled kernels if none of those that numba knows can be written."""
    # Without a home numba would make a folder "~" wherever the process runs.
    if config.CACHE_DIR or Path(os.environ.get("XDG_CACHE_HOME") or Path("~/x").expanduser()).is_absolute():  # type: ignore[attr-defined]
        with contextlib.suppress(RuntimeError):
            caching.FunctionCache(_temporary_folder.__wrapped__)
            return None
    user = os.getuid() if hasattr(os, "getuid") else "user"
    name = f"scim-{version('scim-atlas')}-numba-{version('numba')}-{user}"
    try:
        folder = Path(tempfile.gettempdir()) / name
        folder.mkdir(mode=0o700, exist_ok=True)
        _check_private(folder)
    except OSError as error:
        _log_none(error_text(error))
        return None
    logger.info("compiled kernels are kept in %s; to keep them longer, %s", folder, _REMEDY)
    return str(folder)


def _check_private(folder: Path) -> None:
    """Raise PermissionError for a folder that is another user's or that others can write: code is loaded from it."""
    facts = folder.lstat()
    private = not hasattr(os, "getuid") or (facts.st_uid == os.getuid() and not facts.st_mode & 0o077)
    if not (stat.S_ISDIR(facts.st_mode) and private):
        msg = f"{str(folder)!r} can be written by others"
        raise PermissionError(msg)


_logged: list[str] = []


def _log_none(why: str) -> None:
    if not _logged:
        logger.warning("kernels are compiled again in each process, which takes a minute (%s); %s", why, _REMEDY)
        _logged.append(why)
