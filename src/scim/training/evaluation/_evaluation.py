"""What an evaluation found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """How well a model does on studies left out; :func:`evaluate` makes it.

    Attributes
    ----------
    studies
        One row a study: `study`; the summary of :func:`scim.training.evaluation.label_scores`; the measures of
        :func:`scim.training.evaluation.embedding_scores` over the cells of this study, among those of all; `nmse`, the
        normalised mean squared error of the decoder; `confidence`, the mean over the cells.
    labels
        One row a study and true label: `study` and the frame of labels of `label_scores`.
    confusion
        One row a study and pair that occurs: `study`, `true`, `predicted` (missing = unknown), `n` cells.
    robustness
        One row a study and change: `study`, `change` (`none`, `genes`, `counts`, `lognorm`), `level`, `macro_f1`,
        `macro_f1_ontology`, `unknown`, and `ratio`, of `macro_f1_ontology` to that of the unchanged cells. Empty
        unless asked for.
    """

    studies: pd.DataFrame
    labels: pd.DataFrame
    confusion: pd.DataFrame
    robustness: pd.DataFrame

    @property
    def mean(self) -> pd.Series[Any]:
        """Mean of every figure over the studies, each counting alike; those that have none are left out."""
        return self.studies.drop(columns="study").mean()

    def __repr__(self) -> str:
        mean = self.mean
        figures = ", ".join(f"{name} {mean[name]:.3f}" for name in ("accuracy", "macro_f1", "macro_f1_ontology"))
        return f"Evaluation on {len(self.studies)} studies left out: {figures}"
