"""A logistic curve whose slopes have a given sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RIDGE = 1e-3
"""Weight of the squared slopes beside the mean loss of a row: it decides only where the rows do not."""


def fit_logistic(
    X: NDArray[np.float64], y: NDArray[np.bool_], weights: NDArray[np.float64], *, rising: bool
) -> tuple[float, ...]:
    """Return intercept and slopes of the logistic curve of least weighted loss.

    Parameters
    ----------
    X
        (n, n_features).
    y
        (n,) what happened.
    weights
        (n,) of the rows, not negative.
    rising
        Whether no slope may be below 0, or none above.

    Notes
    -----
    One row of each outcome at the mean of the features is added, with the weight of an average row, so that there is
    an answer, and no certainty, where only one outcome was seen.
    """
    mean = np.average(X, axis=0, weights=weights)
    rows = np.vstack([X, mean, mean])
    rows = np.hstack([np.ones((len(rows), 1)), rows])
    seen = np.append(y, [True, False]).astype(np.float64)
    each = np.append(weights, [weights.mean()] * 2)
    each = each / each.sum()

    def loss(beta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        eta = rows @ beta
        slopes = np.append(0.0, beta[1:])
        value = each @ (np.logaddexp(0, eta) - seen * eta) + _RIDGE * slopes @ slopes / 2
        return float(value), rows.T @ (each * (expit(eta) - seen)) + _RIDGE * slopes

    sign = (0.0, None) if rising else (None, 0.0)
    found = minimize(
        loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B", bounds=[(None, None), *[sign] * X.shape[1]]
    )
    return tuple(float(value) for value in found.x)
