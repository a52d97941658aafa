"""How often each cell is drawn into a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def paper_weights(labels: NDArray[np.int64], studies: NDArray[np.int64]) -> NDArray[np.float64]:
    r"""Return the weights of :cite:t:`Heimberg2025`: :math:`1/\log(1 + n_c/10^4) \cdot 1/\log(1 + n_s/10^6)`.

    :math:`n_c` and :math:`n_s` count the cells of the label and of the study. Weights are clipped at twice their
    99.9 % quantile and add up to 1. They suit millions of cells; on thousands they are nearly inverse frequencies.
    """
    of_label, of_study = np.bincount(labels)[labels], np.bincount(studies)[studies]
    weights = 1 / np.log1p(of_label / 1e4) / np.log1p(of_study / 1e6)
    weights = np.minimum(weights, 2 * np.quantile(weights, 0.999))
    return np.asarray(weights / weights.sum())


def balanced_weights(
    labels: NDArray[np.int64], studies: NDArray[np.int64], *, class_balance: float, study_balance: float
) -> NDArray[np.float64]:
    """Return weights by label within study, and by study; they add up to 1.

    Parameters
    ----------
    labels, studies
        (n,) codes.
    class_balance
        0: the cells of a study weigh alike; 1: its labels do.
    study_balance
        0: a study weighs as many as its cells; 1: studies weigh alike.
    """
    group = studies * (labels.max() + 1) + labels
    _, codes, counts = np.unique(group, return_inverse=True, return_counts=True)
    weights = counts[codes] ** -float(class_balance)
    per_study = np.bincount(studies)
    total = np.bincount(studies, weights=weights)
    wanted = np.where(per_study > 0, per_study ** (1.0 - study_balance), 0)
    weights = weights * (wanted / np.where(total > 0, total, 1))[studies]
    return np.asarray(weights / weights.sum())
