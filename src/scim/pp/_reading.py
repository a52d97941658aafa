"""What values are like once a transform is undone, and the transform that this tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from scim._core import Transform
from scim.pp._transform import FIT, Precision, Steps, Undo, measure_steps, n_decimals

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

Kind = Literal["counts", "fractional", "normalised", "lognorm", "sqrt", "arcsinh"]
"""Whole counts; counts with fractions, as SoupX and salmon give them; relative counts; and these, transformed."""

MAX_LOG = 20.0
"""log1p of half a billion: more copies of one gene than a cell has."""

_EQUAL, _EQUAL_FEW, _SIMILAR = 0.005, 0.001, 0.1  # coefficients of variation of equal and of similar totals
_TOTALS = (1.0, 100.0, 1e3, 1e4, 1e5, 1e6)  # usual totals of a normalised cell


class Reading(NamedTuple):
    """What a matrix holds."""

    kind: Kind
    undo: Undo
    reason: str
    """What tells the kind."""

    precision: Precision | None = None
    """Rounding errors, if the values of a cell are whole multiples of one step once the transform is undone."""

    is_certain: bool = True
    is_whole: bool = False
    """Whether the values, as they are, are whole numbers."""


class Trial(NamedTuple):
    """What the values are like if a transform is undone."""

    undo: Undo
    precision: Precision
    steps: Steps
    totals: NDArray[np.float64]  # (n_rows,) of cells with values
    n_values: int

    @property
    def spread(self) -> float:
        """Coefficient of variation of the totals."""
        return float(self.totals.std() / self.totals.mean())

    @property
    def has_equal_totals(self) -> bool:
        """Whether all cells have the same total, but for rounding errors."""
        return self.spread <= (_EQUAL if self.totals.size >= 5 else _EQUAL_FEW)

    @property
    def fits(self) -> bool:
        """Whether nearly all values that can tell are whole multiples of a step, and enough of them can tell."""
        n, n_whole = int(self.steps.n.sum()), int(self.steps.n_whole.sum())
        return n >= max(8, 0.02 * self.n_values) and n_whole >= FIT * n


def kind_of(undo: Undo) -> Kind:
    """Return what a matrix is called of which a transform was undone."""
    if undo.transform == "sqrt" or undo.transform == "arcsinh":
        return undo.transform
    return "lognorm" if undo.is_log else "normalised"


def trials_of(X: sparse.csr_matrix, dtype: Any, base: float | None, *, rounded: bool = False) -> list[Trial]:
    """Return what the values are like after each transform; `rounded` = to a few decimals, if that is possible."""
    decimals = n_decimals(X.data)
    if rounded and decimals is None:
        return []
    undos = [Undo.of(transform) for transform in get_args(Transform)]
    if base is not None and all(undo.base != base for undo in undos):
        undos.append(Undo("log1p", base))
    limited = X.data.max() > MAX_LOG
    undos = [undo for undo in undos if not limited or undo.transform in ("none", "sqrt")]
    if rounded or decimals is None:
        return [trial_of(X, undo, Precision.of(dtype, decimals)) for undo in undos]
    trials = [trial_of(X, undo, Precision.of(dtype, None)) for undo in undos]
    return [trial._replace(steps=_coarse(trial.steps, 10.0**-decimals)) for trial in trials]


def trial_of(X: sparse.csr_matrix, undo: Undo, precision: Precision) -> Trial:
    with np.errstate(over="ignore", invalid="ignore"):
        steps = measure_steps(X, undo, precision)
        totals = np.add.reduceat(undo(X.data.astype(np.float64)), X.indptr[:-1])
    return Trial(undo, precision, steps, totals, X.nnz)


def _coarse(steps: Steps, decimal: float) -> Steps:
    """Return the steps without those of cells in which they may be the last decimal of rounded values."""
    is_coarse = steps.step >= 4.5 * decimal
    return steps._replace(n=np.where(is_coarse, steps.n, 0), n_whole=np.where(is_coarse, steps.n_whole, 0))


def by_steps(trials: list[Trial]) -> Reading | None:
    """Return the transform after which values are multiples of a step: that which explains most of them, best."""
    fitting = [trial for trial in trials if trial.fits]
    if not fitting:
        return None
    most = max(trial.steps.n_whole.sum() for trial in fitting)
    fitting = [trial for trial in fitting if trial.steps.n_whole.sum() >= 0.7 * most]
    least = min(trial.steps.deviation for trial in fitting)
    # Squares of whole numbers are whole too, and small values are alike whatever is undone: the simplest is first.
    best = next(trial for trial in fitting if trial.steps.deviation <= 3 * least + 1e-4)
    reason = "the values of a cell are whole multiples of one step"
    return Reading(kind_of(best.undo), best.undo, _after(best.undo, reason), best.precision)


def by_totals(trials: list[Trial]) -> Reading | None:
    """Return the transform after which all cells have one total, or nearly so where some genes were left out."""
    best, *others = sorted(trials, key=lambda trial: trial.spread)
    n = best.totals.size
    reason = f"all cells have the total {best.totals.mean():.4g}"
    if n == 1:
        usual = [t for t in trials if min(abs(t.totals[0] / total - 1) for total in _TOTALS) < _EQUAL_FEW]
        return None if len(usual) != 1 else Reading(kind_of(usual[0].undo), usual[0].undo, reason)
    apart = others[0].spread >= 3 * best.spread
    if best.has_equal_totals and (apart or n >= 5) and others[0].spread > 0:
        return Reading(kind_of(best.undo), best.undo, _after(best.undo, reason))
    plain = trials[0].spread  # a logarithm that was no logarithm, undone, never makes totals more alike
    if n >= 10 and best.spread <= _SIMILAR and plain >= 3 * best.spread and others[0].spread >= 1.5 * best.spread:
        reason = f"cells have similar totals, {best.totals.mean():.4g} +- {100 * best.spread:.0f} %"
        return Reading(kind_of(best.undo), best.undo, _after(best.undo, reason), is_certain=False)
    return None


def _after(undo: Undo, reason: str) -> str:
    return reason if undo.transform == "none" else f"once it is undone, {reason}"
