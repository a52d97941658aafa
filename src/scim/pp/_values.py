"""What the values of a matrix are: counts, or counts that were normalised and transformed, by the values alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, get_args

import numpy as np

from scim._core import CountsError, Transform
from scim.pp._bad_values import fractions_among_counts, is_whole
from scim.pp._reading import MAX_LOG, Reading, by_steps, by_totals, kind_of, trial_of, trials_of
from scim.pp._transform import NOTHING, Precision, Undo, check_base, n_decimals

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

_ROWS = 100  # cells that are examined
_SOME = 0.1  # share of the cells from which on they are more than exceptions
_FEW_FRACTIONS = 1e-4  # share of values that are not whole; tools that correct counts leave many more
_MANY_VALUES = 1000
_LARGE_STEP = 5.0  # counts of one, rounded after they were normalised; counts themselves have ones
_LARGE = 8192.0  # float32 has no fractions to speak of beyond


def read_values(X: sparse.csr_matrix, dtype: Any, *, base: Any, named_counts: bool, given: Transform | None) -> Reading:
    """Return what a sample of cells holds.

    Parameters
    ----------
    X
        Canonical csr rows of all columns, finite and not negative, with a value that is not 0.
    dtype
        Type in which the values are stored.
    base
        Base of the logarithm that `uns["log1p"]` names, read if values are not whole; `None` without that entry.
    named_counts
        Whether the matrix is a layer with a name of counts.
    given
        The transform that the user named.

    Raises
    ------
    CountsError
        The values do not tell which transform was used, and it was not named; few values among many are not whole.
    """
    whole = _share_whole(X.data)
    if given is not None:
        return _given(X, dtype, Undo.of(given, check_base(base) if given == "log1p" else None), is_whole=whole == 1)
    examined = _examined(X)
    if whole == 1:
        return _rounded(examined, dtype) or Reading("counts", NOTHING, "whole numbers", is_whole=True)
    most = max(1, _FEW_FRACTIONS * X.nnz)
    if X.nnz >= _MANY_VALUES and (problem := fractions_among_counts(X.data, most)):
        raise CountsError(problem)
    base = check_base(base)
    _refuse_shifted(examined)
    _refuse_mixed(examined, dtype)
    trials = trials_of(examined, dtype, base)
    rounded = trials_of(examined, dtype, base, rounded=True)
    reading = by_steps(rounded) or by_steps(trials) or by_totals(trials) or _of_one_value(examined)
    if reading is None:
        reading = _fractional(examined, named_counts=named_counts)
    if reading is None:
        _refuse_logged_twice(examined, dtype)
        _refuse_scaled(X)
        reading = _by_note(examined, base) or _too_large(X)
    if reading is None:
        _refuse_unclear(X)
    return reading


def _given(X: sparse.csr_matrix, dtype: Any, undo: Undo, *, is_whole: bool) -> Reading:
    if undo.transform == "none" and is_whole:
        return Reading("counts", undo, "whole numbers", is_whole=True)
    examined = _examined(X)
    trial = trial_of(examined, undo, Precision.of(dtype, n_decimals(examined.data)))
    kind = kind_of(undo)
    if undo.transform == "none" and not trial.fits and not trial.has_equal_totals:
        kind = "fractional"
    precision = trial.precision if trial.fits else None
    return Reading(kind, undo, "named by transform=", precision, is_whole=is_whole)


def _examined(X: sparse.csr_matrix) -> sparse.csr_matrix:
    filled = np.flatnonzero(np.diff(X.indptr))
    return X[filled[np.linspace(0, filled.size - 1, min(_ROWS, filled.size)).astype(np.int64)]]


def _share_whole(values: NDArray[Any]) -> float:
    """Return the share of the values above 0 that are whole, but for rounding errors."""
    positive = values[values > 0]
    return float(is_whole(positive).mean())


def _rounded(X: sparse.csr_matrix, dtype: Any) -> Reading | None:
    """Return whole numbers as normalised values that were rounded, if most cells have no count of 1.

    All cells then have one total, or the values of a cell are multiples of a step. Counts of which some were drawn, so
    that all cells have one total, have counts of 1.
    """
    least = np.median(np.minimum.reduceat(X.data, X.indptr[:-1]))
    if X.shape[0] == 1 or least <= 1:
        return None
    trial = trial_of(X, NOTHING, Precision.of(dtype, 0))
    if not trial.has_equal_totals and not (trial.fits and least >= _LARGE_STEP):
        return None
    reason = f"whole numbers, but few a count of 1: the least of a cell is about {least:g}"
    return Reading("normalised", NOTHING, reason, trial.precision if trial.fits else None, is_whole=True)


def _fractional(X: sparse.csr_matrix, *, named_counts: bool) -> Reading | None:
    """Return counts with fractions if many values are whole, if values lie around whole numbers, or by their name."""
    share, decimals = _share_whole(X.data[X.data < _LARGE]), n_decimals(X.data)
    chance = 0.0 if decimals is None else 10.0**-decimals
    if share >= 0.1 + 3 * chance and share * X.nnz >= 5:
        return Reading("fractional", NOTHING, f"{100 * share:.0f} % of the values are whole numbers")
    concentration = _concentration(X.data)
    if concentration >= 0.4:
        return Reading("fractional", NOTHING, "gaps between the values are about 1", is_certain=concentration >= 0.6)
    if named_counts:
        return Reading("fractional", NOTHING, "the name of the layer", is_certain=False)
    return None


def _concentration(values: NDArray[Any]) -> float:
    """Return how far values are concentrated at the same place between whole numbers, 0 to 1, above chance.

    Each unit interval counts alike, so that a density that falls smoothly has no concentration.
    """
    interval, place = np.round(values).astype(np.int64), np.exp(2j * np.pi * values)
    inside = [place[interval == i] for i in range(1, 5) if (interval == i).sum() >= 10]
    if len(inside) < 3:
        return 0.0
    chance = np.sqrt(sum(1 / len(places) for places in inside)) / len(inside)
    return float(np.abs(np.mean([places.mean() for places in inside])) - 1.5 * chance)


def _of_one_value(X: sparse.csr_matrix) -> Reading | None:
    """Return a reading of cells of which each has a single value: no transform changes their relative counts."""
    starts = X.indptr[:-1]
    if (np.maximum.reduceat(X.data, starts) > np.minimum.reduceat(X.data, starts)).any():
        return None
    return Reading("normalised", NOTHING, "each cell has a single value", Precision.of(np.float32, None))


def _by_note(X: sparse.csr_matrix, base: float | None) -> Reading | None:
    """Return the logarithm that `uns["log1p"]` names, unless a cell would then consist of little but one gene."""
    if base is None or X.data.max() > MAX_LOG:
        return None
    undo, starts = Undo("log1p", base), X.indptr[:-1]
    values = undo(X.data.astype(np.float64))
    if np.median(np.maximum.reduceat(values, starts) / np.add.reduceat(values, starts)) > 0.5:
        return None
    return Reading("lognorm", undo, "uns['log1p']", is_certain=False)


def _too_large(X: sparse.csr_matrix) -> Reading | None:
    if X.data.max() <= MAX_LOG:
        return None
    return Reading("normalised", NOTHING, "values too large for logarithms", is_certain=False)


def _refuse_shifted(X: sparse.csr_matrix) -> None:
    """Refuse values none of which is 0 because the transform moved 0."""
    least = X.data.min()
    if X.nnz < X.shape[0] * X.shape[1] or least <= 0 or X.shape[1] < 20:
        return
    if (X.data <= least * (1 + 1e-6)).sum() >= max(10, 0.01 * X.nnz):
        msg = f"has no value that is 0, and many are {least:.4g}: counts were transformed in a way that moves 0"
        raise CountsError(msg)


def _refuse_mixed(X: sparse.csr_matrix, dtype: Any) -> None:
    """Refuse cells of which some are whole counts, and others were transformed."""
    starts = X.indptr[:-1]
    whole = np.minimum.reduceat(np.abs(X.data - np.round(X.data)) <= 1e-5, starts)
    whole &= np.maximum.reduceat(X.data, starts) >= 3  # roots and logarithms of a few small counts are whole too
    if not _SOME <= whole.mean() <= 1 - _SOME:
        return
    trials = trials_of(X[np.flatnonzero(~whole)], dtype, None)
    reading = by_steps(trials) or by_totals(trials)
    if reading is not None and reading.undo != NOTHING:
        msg = f"has cells that differ in what was done to them: {100 * whole.mean():.0f} % are whole counts, others "
        msg += f"{reading.kind} ({reading.undo.name}); bring them to one form"
        raise CountsError(msg)


def _refuse_logged_twice(X: sparse.csr_matrix, dtype: Any) -> None:
    once = X.copy()
    once.data = np.expm1(np.minimum(X.data, MAX_LOG))
    trials = [] if once.data.max() > MAX_LOG else trials_of(once, dtype, None)
    reading = (by_steps(trials) or by_totals(trials)) if trials else None
    if reading is not None and reading.kind == "lognorm":
        msg = "looks as if its logarithm was taken twice; undo one of them, as with numpy.expm1"
        raise CountsError(msg)


def _refuse_scaled(X: sparse.csr_matrix) -> None:
    """Refuse values of genes that all have the same standard deviation."""
    n = X.shape[0]
    mean = np.bincount(X.indices, X.data, X.shape[1]) / n
    spread = np.sqrt(
        np.maximum(np.bincount(X.indices, np.square(X.data, dtype=np.float64), X.shape[1]) / n - mean**2, 0)
    )
    spread = spread[np.bincount(X.indices, minlength=X.shape[1]) >= 0.05 * n]
    if n >= 30 and spread.size >= 20 and spread.std() <= 0.1 * spread.mean():
        msg = "has genes that all have the same standard deviation: it looks scaled, and scaling cannot be undone"
        raise CountsError(msg)


def _refuse_unclear(X: sparse.csr_matrix) -> NoReturn:
    choices = ", ".join(f"{transform!r}" for transform in get_args(Transform))
    msg = f"has fractions up to {X.data.max():.3g} that do not tell how they were made: cells have neither one total "
    msg += "nor values that are multiples of one step, whichever transform is undone. Name it with transform= "
    msg += f"({choices}; 'none' is for counts with fractions and for normalised ones)"
    raise CountsError(msg)
