"""Columns of true and false as files hold them: as booleans, as 0 and 1, or as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core.no_label import clean_text, coded, is_missing

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import ArrayLike

_TRUE = frozenset({"true", "t", "yes", "y", "1", "1.0"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "0.0"})


def read_booleans(
    values: ArrayLike | pd.Series[Any] | pd.Categorical, *, true: Collection[str] = (), false: Collection[str] = ()
) -> pd.arrays.BooleanArray | None:
    """Return a column, (n,), as true, false and missing; `None` if a value is none of them.

    Texts are read in any case: true, t, yes, y, 1 and their opposites; `true` and `false` are further words in lower
    case. Words for missing values, as "NA", and blanks are missing.
    """
    codes, distinct = coded(values)
    read = [_boolean(value, _TRUE.union(true), _FALSE.union(false)) for value in distinct]
    if any(value is NotImplemented for value in read):
        return None
    is_true = np.array([value is True for value in read] + [False])[codes]
    is_na = np.array([value is None for value in read] + [True])[codes]
    return pd.arrays.BooleanArray(is_true, is_na)


def _boolean(value: Any, true: frozenset[str], false: frozenset[str]) -> Any:
    """Return true, false, `None` for a missing value, or `NotImplemented` for anything else."""
    if isinstance(value, bool | int | float | np.bool_ | np.number):
        return bool(value) if value in (0, 1) else NotImplemented
    text = clean_text(value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value))
    word = text.casefold()
    if word in true or word in false:
        return word in true
    return None if is_missing(text) else NotImplemented
