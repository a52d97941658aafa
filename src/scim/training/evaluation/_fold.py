"""One study left out: its cells are labelled by those of the others, compared and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scim._core.log import logger
from scim.training.evaluation._annotate import annotate, reference
from scim.training.evaluation._embedding import cell_values, draw, summarise
from scim.training.evaluation._scores import label_scores
from scim.training.evaluation._terms import lifted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.model._model import Model
    from scim.training.evaluation._annotate import Reference
    from scim.training.evaluation._embed import Data
    from scim.training.evaluation._perturb import Change
    from scim.training.evaluation._scores import LabelScores


class Embedded(NamedTuple):
    """All cells as one model sees them."""

    model: Model
    Z: NDArray[np.float32]
    sample: NDArray[np.int64]
    """Cells by which the embedding is measured."""
    values: pd.DataFrame
    """What each of them adds to the measures."""


class Plan(NamedTuple):
    """What is asked of every study; see :func:`scim.model.evaluate`."""

    k: int
    max_error: float
    max_cells: int
    levels: list[str]
    changes: list[Change]


def embedded(model: Model, cells: Data, plan: Plan, random: np.random.Generator) -> Embedded:
    """Embed all cells, and measure the embedding on a sample of them."""
    Z = cells.embed(model)
    sample = draw(np.arange(len(Z)), plan.max_cells, random)
    return Embedded(model, Z, sample, cell_values(Z[sample], cells.labels[sample], cells.studies[sample], plan.k))


def fold(seen: Embedded, cells: Data, study: str, plan: Plan, random: np.random.Generator) -> tuple[pd.DataFrame, ...]:
    """Return the rows of one study in each of the frames."""
    own = cells.studies == study
    known = reference(seen.Z[~own], cells.labels[~own], cells.studies[~own])
    said = annotate(seen.Z[own], known, k=plan.k, max_error=plan.max_error)
    scores = _scores(cells.labels[own], said.labels, known, plan.levels)
    row: dict[str, Any] = {"study": study, **scores.summary}
    row |= summarise(seen.values[seen.values["study"] == study]) | {"nmse": _nmse(seen, cells, own)}
    row["confidence"] = float(said.confidence.mean())
    logger.info("%s left out: %d cells, macro-F1 %.3f", study, own.sum(), scores.summary["macro_f1"])
    robust = [_robust(seen, cells, study, known, change, scores, plan, random) for change in plan.changes]
    if robust:
        robust.insert(0, _robust_row(study, "none", None, scores, scores))
    return (
        pd.DataFrame([row]),
        scores.labels.assign(study=study)[["study", *scores.labels]],
        scores.confusion.assign(study=study)[["study", *scores.confusion]],
        pd.DataFrame(robust),
    )


def _scores(
    true: NDArray[np.object_], predicted: NDArray[np.object_], known: Reference, levels: list[str]
) -> LabelScores:
    return label_scores(lifted(true, levels), lifted(predicted, levels), seen=lifted(known.names, levels).tolist())


def _nmse(seen: Embedded, cells: Data, own: NDArray[np.bool_]) -> float:
    if seen.model.decoder is None:
        return float("nan")
    chosen = np.zeros(len(own), dtype=np.bool_)
    chosen[seen.sample] = True
    chosen &= own
    return cells.reconstruct(seen.model, chosen, seen.Z[chosen])


def _robust(
    seen: Embedded,
    cells: Data,
    study: str,
    known: Reference,
    change: Change,
    full: LabelScores,
    plan: Plan,
    random: np.random.Generator,
) -> dict[str, Any]:
    own = cells.studies == study
    Z = cells.embed_changed(seen.model, own, change, random)
    said = annotate(Z, known, k=plan.k, max_error=plan.max_error)
    scores = _scores(cells.labels[own], said.labels, known, plan.levels)
    return _robust_row(study, change.kind, change.level, scores, full)


def _robust_row(study: str, change: str, level: float | None, scores: LabelScores, full: LabelScores) -> dict[str, Any]:
    figures = {name: scores.summary[name] for name in ("macro_f1", "macro_f1_ontology", "unknown")}
    whole = full.summary["macro_f1_ontology"]
    ratio = figures["macro_f1_ontology"] / whole if whole else float("nan")
    return {"study": study, "change": change, "level": level, **figures, "ratio": ratio}
