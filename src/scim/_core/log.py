"""Provide the logger, warnings and progress bars of scim."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scim._core.errors import ScimWarning
from scim._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger("scim")

_PACKAGE = str(Path(__file__).parents[1]) + os.sep


def warn(message: str) -> None:
    """Warn of a likely wrong result, at the line of the user's code."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_PACKAGE, contextlib.__file__)):
        frame = frame.f_back
        level += 1
    warnings.warn(message, ScimWarning, stacklevel=level)


def progress(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    initial: int = 0,
    desc: str = "",
    unit: str = "it",
    disable: bool = False,
) -> Any:
    """Return a `tqdm` bar that follows `scim.settings.progress`; `initial` is the number already done."""
    from tqdm.auto import tqdm  # noqa: PLC0415  (`tqdm.auto` looks for a notebook when it is imported)

    hidden = True if disable else None if settings.progress is None else not settings.progress
    return tqdm(
        iterable, total=total, initial=initial, desc=desc, unit=unit, unit_scale=True, disable=hidden, leave=False
    )
