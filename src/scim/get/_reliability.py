"""Compare the confidence of labels with how often they are right."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd

from scim._core import Ancestors, check_choice, check_count, keys
from scim.get._compare_labels import compare_labels

if TYPE_CHECKING:
    from anndata import AnnData

    from scim._core.types import Bools, Doubles, Floats, Ints
    from scim.get._compare_labels import LabelComparison

_MOST_BINS = 10_000
_Z = 1.959963984540054  # the 97.5 % quantile of the normal distribution


def reliability(
    adata: AnnData, truth: str, *, n_bins: int = 10, ancestors: Ancestors = "right", key: str = keys.LABEL
) -> pd.DataFrame:
    r"""Compare the confidence of annotated labels with the share of them that are right.

    The cells are put in bins of equal width by confidence, each with its lower edge, the last with both. In a bin
    :math:`b` of :math:`n_b` cells, :math:`c_b` is their mean confidence and :math:`p_b` the share that are right;
    labels are reliable where the two are the same :cite:p:`Guo2017`. The expected calibration error is
    :math:`\sum_b n_b |p_b - c_b| / \sum_b n_b`, and the interval of :math:`p_b` is Wilson's :cite:p:`Wilson1927`,

    .. math:: \frac{p_b + z^2 / 2 n_b \pm z \sqrt{p_b (1 - p_b) / n_b + z^2 / 4 n_b^2}}{1 + z^2 / n_b},
       \quad z = 1.96.

    A label is right if it names the true term or a descendant of it in the Cell Ontology. One that names an ancestor is
    right by default, and counted apart as `broader`. Unknown cells are in no bin.

    Parameters
    ----------
    adata, key
        Cells annotated by :func:`scim.tl.annotate`, and its `key_added`.
    truth
        Column of obs with the true labels: Cell Ontology ids or names, or free words. Cells without a label are left
        out, and counted in the log: missing values, and words such as "unknown" or "N/A" (`scim.settings.no_label`).
    n_bins
        Number of bins.
    ancestors
        `"right"`: a label that is an ancestor of the true one is right. `"wrong"`: it is not, as in
        :func:`scim.model.evaluate`.

    Returns
    -------
    Frame with a row for each bin; without cells, all from `confidence` on is NaN:

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
    >>> scim.tl.annotate(adata, max_error=1)
    >>> frame = scim.get.reliability(adata, "cell_type")
    >>> int(frame["n"].sum()) == adata.n_obs
    True
    """
    n_bins = check_count("n_bins", n_bins, most=_MOST_BINS)
    check_choice("ancestors", ancestors, get_args(Ancestors))
    cells = compare_labels(adata, truth, key)
    known = cells.known
    confidence = _confidences(adata, key)[cells.rows[known]]
    right, broader = _right_labels(cells, ancestors)
    frame = _bins(confidence, right[known], broader[known], n_bins)
    n = frame["n"]
    weight = n / n.sum() if n.sum() else n * np.nan
    weighted = {name: weight * frame[name] for name in ("confidence", "right", "broader")}
    weighted |= {"calibration_error": weight * (frame["right"] - frame["confidence"]).abs()}
    frame.attrs = {name: float(values.sum(min_count=1)) for name, values in weighted.items()}  # NaN if all bins are
    frame.attrs |= {"n": int(n.sum()), "n_unknown": int((~known).sum()), "ancestors": ancestors}
    return frame


def selective_risk(
    adata: AnnData, truth: str, *, ancestors: Ancestors = "right", key: str = keys.LABEL
) -> pd.DataFrame:
    r"""Return the share of wrong labels against the share of cells that are labelled.

    Of the cells with a true label, let :math:`A_t` be those labelled with a confidence of at least :math:`t`. The
    coverage is :math:`|A_t|` over the number of all of them, the unknown among them, and the risk is the share of
    :math:`A_t` with a wrong label :cite:p:`Geifman2017`.

    Parameters
    ----------
    adata, truth, ancestors, key
        As in :func:`scim.get.reliability`.

    Returns
    -------
    Frame with a row for each confidence that occurs among the labelled cells, highest first:

    `confidence` : float32
        The lowest confidence that is kept, 0 to 1.
    `coverage` : float64
        Share of the cells with such a label, above 0 to 1. The last is the share that is not unknown.
    `error` : float64
        Share of them that are wrong, 0 to 1.
    `broader` : float64
        Share of them whose label is an ancestor of the true one, 0 to 1.

    Raises
    ------
    KeyError
        There is no annotation of this name, or `truth` is not a column.
    ValueError
        No cell has a true label, a confidence is not between 0 and 1, or `ancestors` is none of the choices.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata, max_error=1)
    >>> float(scim.get.selective_risk(adata, "cell_type")["coverage"].iloc[-1])
    1.0
    """
    check_choice("ancestors", ancestors, get_args(Ancestors))
    cells = compare_labels(adata, truth, key)
    known = cells.known
    right, broader = _right_labels(cells, ancestors)
    confidence = _confidences(adata, key)[cells.rows[known]]
    order = np.argsort(-confidence, kind="stable")
    descending = confidence[order]
    last = np.append(descending[1:] != descending[:-1], True)[: len(order)]  # cells of equal confidence go together
    n = np.arange(1, len(order) + 1)
    wrong, broader = (np.cumsum(values[known][order]) for values in (~right, broader))
    columns = {"confidence": descending, "coverage": n / len(known), "error": wrong / n, "broader": broader / n}
    return pd.DataFrame(columns)[last].reset_index(drop=True)


def _confidences(adata: AnnData, key: str) -> Floats:
    """Return the confidence of every cell, (n_obs,); raise KeyError without one, ValueError if it is not 0 to 1."""
    name = f"{key}_confidence"
    if name not in adata.obs:
        msg = f"obs[{name!r}] not found; run scim.tl.annotate(adata) first. Present: {list(adata.obs.columns)}."
        raise KeyError(msg)
    values: Floats = adata.obs[name].to_numpy(dtype=np.float32)
    given = values[~np.isnan(values)]  # cells joined from elsewhere were not annotated
    if not ((given >= 0) & (given <= 1)).all():
        msg = f"obs[{name!r}] must be between 0 and 1, got {given.min()} to {given.max()}; annotate the cells again."
        raise ValueError(msg)
    return values


def _right_labels(cells: LabelComparison, ancestors: Ancestors) -> tuple[Bools, Bools]:
    """Return for each cell whether its label is right, and whether it is an ancestor of the true one."""
    broader: Bools = cells.relation == "broader"
    right = np.isin(cells.relation.astype(str), ["same", "narrower"])
    return (right | broader if ancestors == "right" else right), broader


def _bins(confidence: Floats, right: Bools, broader: Bools, n_bins: int) -> pd.DataFrame:
    edges = np.linspace(0, 1, n_bins + 1)
    # compared as float32, so that a confidence of 0.7 is in the bin that begins there
    bin_of = np.clip(np.searchsorted(edges.astype(np.float32), confidence, side="right") - 1, 0, n_bins - 1)
    n = np.bincount(bin_of, minlength=n_bins)

    def mean(values: Floats | Bools) -> Doubles:
        total = np.bincount(bin_of, weights=values.astype(np.float64), minlength=n_bins)
        out = np.full(n_bins, np.nan)
        np.divide(total, n, out=out, where=n > 0)
        return out

    share = mean(right)
    low, high = _wilson(share, n)
    columns = {"low": edges[:-1], "high": edges[1:], "n": n, "confidence": mean(confidence), "right": share}
    return pd.DataFrame(columns | {"right_low": low, "right_high": high, "broader": mean(broader)})


def _wilson(share: Doubles, n: Ints) -> tuple[Doubles, Doubles]:
    """Return the ends of the 95 % interval of a share of `n` cells; NaN for no cell."""
    with np.errstate(divide="ignore", invalid="ignore"):
        square = _Z**2 / n
        center = (share + square / 2) / (1 + square)
        half = np.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    return np.maximum(center - half, 0), np.minimum(center + half, 1)
