"""What a query can be told beyond what every kind of index can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.checks import check_count

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_knobs(knobs: Mapping[str, Any], kind: str, known: tuple[str, ...]) -> None:
    """Refuse knobs that a kind does not have, and values that they cannot take; `None` is as if not given.

    Raises
    ------
    TypeError
        One is unknown, or its value is not a number.
    ValueError
        A value is out of its range.
    """
    unknown = sorted(set(knobs) - set(known))
    if unknown:
        msg = f"Unknown parameter {unknown[0]!r} of a query of an index of kind {kind!r}; it takes {list(known)}."
        raise TypeError(msg)
    for name, value in knobs.items():
        if value is None:
            continue
        if name == "effort":
            check_count(name, value)
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            msg = f"`{name}` must be a number, got {value!r}."
            raise TypeError(msg)
        if name == "recall" and not 0 < value <= 1:
            msg = f"`recall` must be above 0 and at most 1, got {value!r}."
            raise ValueError(msg)
        if not 0 <= value < np.inf:
            msg = f"`{name}` must be finite and at least 0, got {value!r}."
            raise ValueError(msg)
