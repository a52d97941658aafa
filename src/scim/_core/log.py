"""Provide the logger, warnings and progress bars of scim."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scim._core.display import shown
from scim._core.errors import ScimWarning
from scim._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger("scim")

_PACKAGE = str(Path(__file__).parents[1]) + os.sep


def _prepare(record: logging.LogRecord) -> bool:
    """Make the message of a record fit to be shown, for all handlers; return whether it is logged."""
    record.msg, record.args = shown(record.getMessage()), None
    # Without a handler Python prints warnings on standard error, and fails if that was closed.
    return logger.hasHandlers() or not _is_closed()


logger.addFilter(_prepare)


def warn(message: str) -> None:
    """Warn of a likely wrong result, at the line of the user's code."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_PACKAGE, contextlib.__file__)):
        frame = frame.f_back
        level += 1
    try:
        warnings.warn(shown(message), ScimWarning, stacklevel=level)
    except ValueError:  # to show it failed
        if not _is_closed():
            raise


def _is_closed() -> bool:
    return bool(getattr(sys.stderr, "closed", False))


def _is_terminal() -> bool:
    return not _is_closed() and hasattr(sys.stderr, "isatty") and sys.stderr.isatty()


def progress(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    initial: int = 0,
    desc: str = "",
    unit: str = "it",
    disable: bool = False,
) -> Any:
    """Return a `tqdm` bar that follows `scim.settings.progress`; `initial` is the number already done.

    There is none without a standard error: windowed programs have none, and services may close it.
    """
    from tqdm.auto import tqdm  # noqa: PLC0415  (`tqdm.auto` looks for a notebook when it is imported)

    wanted = _is_terminal() if settings.progress is None else settings.progress
    hidden = disable or not wanted or _is_closed() or not hasattr(sys.stderr, "write")
    how = {"total": total, "initial": initial, "desc": shown(desc), "unit": unit, "unit_scale": True}
    return tqdm(iterable, disable=hidden, leave=False, **how)
