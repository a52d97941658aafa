"""Transforms of counts, and how they are undone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from scim._core import CountsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core import Transform

_LOG_BASES: dict[Transform, float] = {"log1p": math.e, "log2": 2.0, "log10": 10.0}
_LARGEST_BASE = 1e6  # 2 and 10 are usual; the logarithm of a cell's total to a larger one is below 1
FIT = 0.97
"""Share of whole multiples from which on values have a step."""

_STEPS_OF_LEAST = (1, 2, 3, 4)  # the least value of a cell may be a count of 2, 3 or 4
_SMALL = 32.0  # multiples of a step up to this are compared with whole numbers; larger ones have larger errors
_TOLERANCE = 0.02  # of such a multiple, beside what the precision of the values explains
_VAGUE = 0.15  # tolerance from which on a value tells nothing


class Undo(NamedTuple):
    """The inverse of a transform."""

    transform: Transform
    base: float = math.e
    """Base of the logarithm; without meaning for other transforms."""

    @classmethod
    def of(cls, transform: Transform, base: float | None = None) -> Undo:
        """Return the inverse of a transform; `base` replaces that of `"log1p"`."""
        usual = _LOG_BASES.get(transform, math.e)
        return cls(transform, base if base is not None and transform == "log1p" else usual)

    @property
    def is_log(self) -> bool:
        return self.transform in _LOG_BASES

    @property
    def name(self) -> str:
        """The transform in words."""
        if self.is_log:
            return f"log{'' if self.base == math.e else f' to the base {self.base:g}'} of 1 + x"
        return {"none": "no transform", "sqrt": "the square root", "arcsinh": "arcsinh"}[self.transform]

    def rows(self, X: sparse.csr_matrix) -> sparse.csr_matrix:
        """Return csr rows, in which a column has one value, with the transform undone."""
        return sparse.csr_matrix((self(X.data), X.indices, X.indptr), shape=X.shape)

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return new values of the same dtype, or the values themselves if there is nothing to undo."""
        if self.is_log:
            return np.asarray(np.expm1(values * values.dtype.type(math.log(self.base))))
        if self.transform == "none":
            return values
        return np.asarray(np.square(values) if self.transform == "sqrt" else np.sinh(values))


NOTHING = Undo("none")


def check_base(base: Any) -> float | None:
    """Return the base of a logarithm that `uns["log1p"]` names; CountsError for what cannot be one."""
    number = base.item() if isinstance(base, np.ndarray) and base.size == 1 else base
    is_number = isinstance(number, int | float | np.integer | np.floating) and not isinstance(number, bool)
    if number is None or (is_number and 1 < number < _LARGEST_BASE):
        return None if number is None else float(number)
    msg = f"cannot be read: uns['log1p']['base'] is {str(base)[:60]!r}, expected None or a number above 1; correct it, "
    msg += "or delete uns['log1p']"
    raise CountsError(msg)


class Precision(NamedTuple):
    """Rounding error of values."""

    relative: float
    absolute: float

    @classmethod
    def of(cls, dtype: Any, decimals: int | None) -> Precision:
        """Return the error of values of a dtype, which are read as float32 and were rounded to some decimals."""
        relative = max(float(np.finfo(np.float32).eps), np.finfo(dtype).eps if np.dtype(dtype).kind == "f" else 0.0)
        return cls(relative, 0.0 if decimals is None else 0.5 * 10.0**-decimals)

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(self.relative * values, self.absolute)


def n_decimals(values: NDArray[Any]) -> int | None:
    """Return to how many decimals values were rounded, at most 4; `None` if they were not."""
    exact = values.astype(np.float64)
    for decimals in (1, 2, 3, 4):
        if (np.abs(exact - np.round(exact, decimals)) <= 1e-6 * np.maximum(1, exact)).all():
            return decimals
    return None


class Steps(NamedTuple):
    """How far the values of each cell are whole multiples of one smallest step, which is then a count of one."""

    n: NDArray[np.int64]
    """(n_rows,) values that can tell: neither the least of the row, nor too large for their precision."""

    n_whole: NDArray[np.int64]
    """(n_rows,) those of them that are whole multiples."""

    step: NDArray[np.float64]
    """(n_rows,) the step; 1 for a row without values."""

    deviation: float
    """Mean distance of the multiples from whole numbers."""


def measure_steps(X: sparse.csr_matrix, undo: Undo, precision: Precision) -> Steps:
    """Compare the values of each row, after a transform is undone, with multiples of the row's least value.

    `X` has sorted rows without duplicates. If most are no multiples, those of a half, a third and a quarter are tried.
    """
    kept = X.data > 0
    row = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))[kept]
    given = X.data[kept].astype(np.float64)
    values = undo(given)
    error = undo(given + precision(given)) - values
    order = np.lexsort((values, row))
    filled, first = np.unique(row[order], return_index=True)
    least, least_error = np.ones(X.shape[0]), np.zeros(X.shape[0])
    least[filled], least_error[filled] = values[order][first], error[order][first]
    ratio = values / least[row]
    ratio_error = (error + ratio * least_error[row]) / least[row]
    # Squares of whole numbers are whole too: what is a multiple as it is tells nothing of a transform.
    as_it_is = given / _least(given, row, X.shape[0])
    tells = (undo.transform == "none") | (np.abs(as_it_is - np.round(as_it_is)) > 1e-3)
    n, n_whole, distance = (np.zeros(X.shape[0]) for _ in range(3))
    step = least.copy()
    for part in _STEPS_OF_LEAST:
        multiple, tolerance = ratio * part, _TOLERANCE + 2 * part * ratio_error
        informative = tells & (ratio > 1 + 2 * ratio_error + 1e-6) & (multiple <= _SMALL) & (tolerance < _VAGUE)
        off = np.abs(multiple - np.round(multiple))
        found = np.bincount(row[informative], minlength=X.shape[0])
        whole = np.bincount(row[informative & (off <= tolerance)], minlength=X.shape[0])
        # A finer step fits by chance where few values are compared.
        better = (whole >= FIT * found) & (n_whole < FIT * n) & (found >= 4) if part > 1 else np.ones(n.size, np.bool_)
        n[better], n_whole[better], step[better] = found[better], whole[better], least[better] / part
        distance[better] = np.bincount(row[informative], off[informative], X.shape[0])[better]
    return Steps(n.astype(np.int64), n_whole.astype(np.int64), step, float(distance.sum() / max(1.0, n.sum())))


def _least(values: NDArray[np.float64], row: NDArray[np.intp], n_rows: int) -> NDArray[np.float64]:
    """Return for each value the least of its row."""
    least = np.full(n_rows, np.inf)
    np.minimum.at(least, row, values)
    return np.asarray(least[row])


def whole_multiples(X: sparse.csr_matrix, undo: Undo, precision: Precision) -> NDArray[np.float32]:
    """Return the values of canonical csr rows as multiples of the row's step, whole if they are multiples of it."""
    steps = measure_steps(X, undo, precision)
    lengths = np.diff(X.indptr)
    multiple = undo(X.data.astype(np.float64)) / np.repeat(steps.step, lengths)
    is_whole = np.repeat(steps.n_whole >= FIT * steps.n, lengths)
    return np.asarray(np.where(is_whole, np.round(multiple), multiple), dtype=np.float32)
