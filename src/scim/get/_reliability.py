"""Whether cells annotated with a confidence of 0.8 are right in 8 of 10 cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd

from scim._core import keys
from scim._core.checks import check_choice, check_count
from scim._core.types import Ancestors
from scim.get._judged import judged

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scim.get._judged import Judged

_Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: 95 % lie between it and its negative."""


def reliability(
    adata: AnnData, truth: str, *, n_bins: int = 10, ancestors: Ancestors = "right", key: str = keys.LABEL
) -> pd.DataFrame:
    r"""Compare the confidence of annotated labels with the share of them that are right.

    The cells are put in bins by confidence, of equal width from 0 to 1, each with its lower edge and the last with
    both. In a bin :math:`b` of :math:`n_b` cells, :math:`c_b` is their mean confidence and :math:`p_b` the share that
    are right; labels are reliable where the two are the same :cite:p:`Guo2017`. The expected calibration error is
    :math:`\sum_b n_b |p_b - c_b| / \sum_b n_b`, and the interval of :math:`p_b` is Wilson's :cite:p:`Wilson1927`,

    .. math:: \frac{p_b + z^2 / 2 n_b \pm z \sqrt{p_b (1 - p_b) / n_b + z^2 / 4 n_b^2}}{1 + z^2 / n_b},
       \quad z = 1.96.

    A label is right if it names the true term or a descendant of it in the Cell Ontology. Whether one that names an
    ancestor is right too, `ancestors` says. It is a true statement that says less, and the confidence is the
    probability that the statement is true, so by default it is. How many labels are of this kind is told beside it,
    because whoever calls every cell a cell is never wrong.

    Unknown cells are in no bin, because nothing was said of them; they are counted.

    Parameters
    ----------
    adata
        Cells annotated by :func:`scim.tl.annotate`.
    truth
        Column of obs with the true labels: Cell Ontology ids or names, or free words. Cells where it is missing,
        `"unknown"` or `"na"` are left out.
    n_bins
        Number of bins.
    ancestors
        `"right"`: a label that is an ancestor of the true one is right. `"wrong"`: it is not, as in
        :func:`scim.model.evaluate`.
    key
        `key_added` of the annotation.

    Returns
    -------
    Frame with a row for each bin, shape (n_bins, 8). Where it holds no cell, all from `confidence` on is NaN:

    `low`, `high` : float64
        Its edges, 0 to 1.
    `n` : int64
        Number of cells.
    `confidence` : float64
        Their mean confidence, 0 to 1.
    `right`, `right_low`, `right_high` : float64
        Share of them that are right, with its 95 % interval, 0 to 1.
    `broader` : float64
        Share of them whose label is an ancestor of the true one, 0 to 1.

    Its `attrs` have `calibration_error`, `confidence`, `right` and `broader` of all labelled cells (0 to 1; NaN
    without any), `n` and `n_unknown` cells, and `ancestors`.

    Raises
    ------
    KeyError
        There is no annotation of this name, or `truth` is not a column.
    ValueError
        No cell has a true label, a confidence is not between 0 and 1, or an argument is out of its range.
    TypeError
        `n_bins` is not a whole number.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata, max_distance=2.0)
    >>> frame = scim.get.reliability(adata, "cell_type")
    >>> int(frame["n"].sum()) == adata.n_obs
    True
    """
    check_count("n_bins", n_bins)
    check_choice("ancestors", ancestors, get_args(Ancestors))
    cells = judged(adata, truth, key)
    known = cells.known
    confidence = confidences(adata, key)[cells.rows[known]]
    right, broader = rightness(cells, ancestors)
    frame = _bins(confidence, right[known], broader[known], n_bins)
    n = frame["n"]
    weight = n / n.sum() if n.sum() else n * np.nan
    frame.attrs = {"calibration_error": _sum(weight * (frame["right"] - frame["confidence"]).abs())}
    frame.attrs |= {name: _sum(weight * frame[name]) for name in ("confidence", "right", "broader")}
    frame.attrs |= {"n": int(n.sum()), "n_unknown": int((~known).sum()), "ancestors": ancestors}
    return frame


def confidences(adata: AnnData, key: str) -> NDArray[np.float32]:
    """Return the confidence of every cell, shape (n_obs,).

    Raises
    ------
    KeyError
        It is not there.
    ValueError
        It is not between 0 and 1 where there is one.
    """
    name = f"{key}_confidence"
    if name not in adata.obs:
        msg = f"obs[{name!r}] not found; run scim.tl.annotate(adata) first. Present: {list(adata.obs.columns)}."
        raise KeyError(msg)
    values: NDArray[np.float32] = adata.obs[name].to_numpy(dtype=np.float32)
    given = values[~np.isnan(values)]  # cells joined from elsewhere were not annotated
    if not ((given >= 0) & (given <= 1)).all():
        msg = f"obs[{name!r}] must be between 0 and 1, got {given.min()} to {given.max()}; annotate the cells again."
        raise ValueError(msg)
    return values


def rightness(cells: Judged, ancestors: Ancestors) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which cells have a right label, and which one that is an ancestor of the true one, shape (n_cells,)."""
    broader: NDArray[np.bool_] = cells.relation == "broader"
    right = np.isin(cells.relation.astype(str), ["same", "narrower"])
    return (right | broader if ancestors == "right" else right), broader


def _bins(
    confidence: NDArray[np.float32], right: NDArray[np.bool_], broader: NDArray[np.bool_], n_bins: int
) -> pd.DataFrame:
    edges = np.linspace(0, 1, n_bins + 1)
    # compared as float32, so that a confidence of 0.7 is in the bin that begins there
    bin_of = np.clip(np.searchsorted(edges.astype(np.float32), confidence, side="right") - 1, 0, n_bins - 1)
    n = np.bincount(bin_of, minlength=n_bins)

    def mean(values: NDArray[np.float32] | NDArray[np.bool_]) -> NDArray[np.float64]:
        total = np.bincount(bin_of, weights=values.astype(np.float64), minlength=n_bins)
        out = np.full(n_bins, np.nan)
        np.divide(total, n, out=out, where=n > 0)
        return out

    share = mean(right)
    low, high = wilson(share, n)
    columns = {"low": edges[:-1], "high": edges[1:], "n": n, "confidence": mean(confidence), "right": share}
    return pd.DataFrame(columns | {"right_low": low, "right_high": high, "broader": mean(broader)})


def wilson(share: NDArray[np.float64], n: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the 95 % interval of a share of `n` cells; NaN of no cell."""
    with np.errstate(divide="ignore", invalid="ignore"):
        square = _Z**2 / n
        middle = (share + square / 2) / (1 + square)
        half = np.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


def _sum(values: pd.Series[float]) -> float:
    return float(values.sum(min_count=1))  # bins without cells are left out; NaN if all are
