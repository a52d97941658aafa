"""Bound the share of wrong labels by confidence, choose the threshold, and warn where no bound can be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core import warn
from scim.label_transfer._decision import MAJORITY
from scim.label_transfer._held_out import in_several_studies

if TYPE_CHECKING:
    from scim._core.types import Doubles, Floats
    from scim.label_transfer._calibration import Calibration
    from scim.label_transfer._reference import LabelReference

STEPS = 100  # of confidence for which a bound is kept


def error_bounds(p: Floats, wrong: Doubles, weights: Doubles) -> tuple[float, ...]:
    r"""Return bounds of the share of wrong labels at confidences of at least 0, .01, .02, ... 1; descending.

    Of the cells that have a label at a confidence, with the weights :math:`w`, let :math:`e` be the share that is
    wrong and :math:`n = (\sum w)^2 / \sum w^2` their effective number. The bound is :math:`(n e + 1) / (n + 1)`: as
    if one more cell had been wrong :cite:p:`Angelopoulos2024`, so that few cells bound little. That of a confidence
    holds for the higher ones too, where ever fewer cells are left to measure it.

    Parameters
    ----------
    p
        (n, width) probabilities of the terms of each cell, the most specific first; -1 = may not be predicted.
    wrong
        (n, width) whether each would be wrong, or how probably.
    weights
        (n,) of the cells.
    """
    bounds, rows = np.ones(STEPS + 1), np.arange(len(p))
    for step in range(STEPS + 1):
        passes = p >= step / STEPS
        labelled = weights * passes.any(axis=1)
        total = labelled.sum()
        if total > 0:
            n = total**2 / (labelled @ labelled)
            share = labelled @ wrong[rows, passes.argmax(axis=1)] / total
            bounds[step] = min((n * share + 1) / (n + 1), 1)
    return tuple(np.minimum.accumulate(bounds).tolist())


def least_confidence(calibration: Calibration, max_error: float, *, uses_expression: bool) -> float:
    """Return the least confidence of a label; above 1 if no label may be given.

    With the expression of the genes it is the lower one of both curves, because few held-out cells bound errors
    roughly, and novel cells get no label anyway; but a label is more likely right than wrong.
    """
    threshold = calibration.threshold(max_error)
    if not uses_expression or calibration.with_expression is None:
        return threshold
    threshold = min(threshold, calibration.with_expression.threshold(max_error))
    return max(threshold, MAJORITY) if max_error < MAJORITY else threshold


def warn_of_limits(
    calibration: Calibration, reference: LabelReference, max_error: float, threshold: float, *, uses_expression: bool
) -> None:
    """Warn if no label may be given at `max_error`, or if the limit was not measured on other studies."""
    if max_error >= 1 or (threshold <= 1 and calibration.n_studies > 0):
        return
    reason, remedy = _reason(reference, max_error)
    if threshold <= 1:
        message = f"max_error={max_error:g} was measured within studies, not from one study to another: {reason}. "
        message += f"More labels of another study will be wrong, and confidences are too high; {remedy}."
    else:
        curves = [calibration, calibration.with_expression if uses_expression else None]
        bound = min(min(curve.errors) for curve in curves if curve is not None)
        message = f"max_error={max_error:g} cannot be kept, so no cell gets a label: {reason}, and the share of "
        least = np.ceil(100 * bound) / 100
        if least < 1:
            message += f"wrong labels is only known to be below {least:g}. Pass max_error={least:g} or more "
        else:
            message += "wrong labels is unknown. Pass max_error=1 "
        message += f"(with 1 every cell gets a label), or {remedy}."
    warn(message)


def _reason(reference: LabelReference, max_error: float) -> tuple[str, str]:
    """Return why errors are not bounded better, and what to do."""
    cells = np.flatnonzero(reference.eligible())
    n_studies = len(np.unique(reference.studies[cells]))
    n_shared = int(in_several_studies(reference, cells).sum())
    needed = int(np.ceil(1 / max_error)) if max_error > 0 else 0
    if len(cells) < needed:
        return f"{needed:,} labelled cells or more are needed, the reference has {len(cells):,}", "add labelled cells"
    if n_studies < 2:
        return f"all {len(cells):,} labelled cells are of one study", "add another study with the same labels"
    if n_shared < len(cells) / 2:
        shared = f"a type that is in another of the {n_studies} studies"
        remedy = "name types alike in all studies, best by the Cell Ontology (scim.ontology.standardize)"
        return f"{n_shared:,} of {len(cells):,} labelled cells are of {shared}", remedy
    wrong = "labels of a study are predicted from the other studies with too many errors"
    return wrong, "correct labels that are wrong or less detailed than in other studies"
