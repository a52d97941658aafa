"""Leave one study out: label its cells by those of the others, and compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from scim._core.checks import check_count, check_names, check_range
from scim._core.log import logger
from scim.model._model import Model
from scim.model.evaluation._annotate import annotate, reference
from scim.model.evaluation._embed import opened_data
from scim.model.evaluation._embedding import MAX_CELLS, cell_values, draw, summarise
from scim.model.evaluation._evaluation import Evaluation
from scim.model.evaluation._perturb import COUNTS, GENES, Change, changes
from scim.model.evaluation._scores import label_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from scim.model.data import Inputs
    from scim.model.evaluation._annotate import Reference
    from scim.model.evaluation._embed import Data
    from scim.model.evaluation._scores import LabelScores

    TrainOn: TypeAlias = Callable[[Mapping[str, Any]], Model]


class _Embedded(NamedTuple):
    """All cells as one model sees them."""

    model: Model
    Z: NDArray[np.float32]
    sample: NDArray[np.int64]
    """Cells by which the embedding is measured."""
    values: pd.DataFrame
    """What each of them adds to the measures."""


class _Plan(NamedTuple):
    k: int
    max_distance: float | None
    max_cells: int
    changes: list[Change]


def evaluate(
    model: Model | TrainOn,
    data: Inputs,
    *,
    label_key: str,
    study_key: str | None = None,
    leave_out: str | Sequence[str] = "study",
    k: int = 50,
    max_distance: float | None = None,
    robustness: bool = False,
    genes: Sequence[int] = GENES,
    counts: Sequence[float] = COUNTS,
    max_cells: int = MAX_CELLS,
    layer: str | None = None,
    gene_key: str | None = None,
    rng: int | np.random.Generator | None = None,
) -> Evaluation:
    """Leave studies out one by one, label their cells by those of the others, and compare with their own labels.

    Every cell of the study left out gets a label by the vote of its nearest cells in the other studies, as
    :func:`scim.tl.annotate` gives it by default. The embedding is measured beside it.

    A model that was trained on the study left out has seen it: its figures say how well it remembers. For figures on
    new studies pass a function that trains.

    Embeddings of all cells are in memory, four bytes a number; counts are read in blocks.

    Parameters
    ----------
    model
        A trained model; or a function that makes one. It is called once for each study left out, with the other
        studies, as a dict by name that :func:`scim.model.train` takes: of an AnnData, one without the cells of the
        study; of a file or an atlas, one in which these have no label.
    data
        Labelled cells with counts, as :func:`scim.model.train` takes them.
    label_key
        Column of obs with the labels: Cell Ontology ids or names, or free words. Cells without a label are left out.
    study_key
        Column of obs with the study of each cell. Default: each data set is a study.
    leave_out
        `"study"`: every study in turn; or a list of the studies to leave out, each by itself.
    k
        Number of neighbours that vote, and whose purity is measured.
    max_distance
        Cells whose nearest neighbour is farther than this (cosine distance, 0 to 2) are unknown. Default: the
        distance within which 99.5 % of the other studies' cells have one of their label in another study; 2 labels all.
    robustness
        Whether to label the cells again with genes and counts taken away, and from log-normalised values.
    genes
        Numbers of random genes to keep, of those that the study measured and the model reads.
    counts
        Shares of the counts to keep, by binomial thinning.
    max_cells
        Of more cells, so many are drawn to measure the embedding, which takes time in the square of them. All cells
        are labelled.
    layer
        Where the counts are; default: wherever they are found.
    gene_key
        Column of var that holds the gene names; default: the index, or the column with most human genes.
    rng
        Seed or generator, of samples and of what is taken away.

    Returns
    -------
    Tables by study and by label, see :class:`Evaluation`.

    Raises
    ------
    KeyError
        A column is missing.
    ValueError
        There is one study, or `leave_out` names one that does not exist.
    TypeError
        `model` is neither a model nor a function that returns one.
    CountsError, GeneOverlapError
        A data set has no counts, or hardly any gene of the model.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> config = scim.model.TrainConfig(n_steps=30, batch_size=64)
    >>> keys = {"label_key": "cell_type", "study_key": "sample"}
    >>> model = scim.model.train(adata, config=config, rng=0, **keys)
    >>> found = scim.model.evaluate(model, adata, rng=0, **keys)
    >>> found.studies[["study", "n_cells", "n_labels_seen"]].values.tolist()
    [['sample0', 150, 3], ['sample1', 150, 3]]

    One model for each study left out, which did not see it:

    >>> def train_on(others):
    ...     return scim.model.train(others, config=config, rng=0, **keys)
    >>> scim.model.evaluate(train_on, adata, **keys)  # doctest: +SKIP
    """
    check_count("k", k)
    check_count("max_cells", max_cells, least=2)
    if max_distance is not None:
        check_range("max_distance", max_distance, 2.0)
    if not isinstance(model, Model) and not callable(model):
        msg = f"model must be a scim.model.Model, or a function that trains one; got {type(model).__name__}."
        raise TypeError(msg)
    asked = _changes(genes, counts) if robustness else []
    plan = _Plan(k, max_distance, max_cells, asked)
    random = np.random.default_rng(rng)
    with opened_data(data, label_key=label_key, study_key=study_key, layer=layer, gene_key=gene_key) as cells:
        studies = _studies(cells, leave_out)
        fixed = _embedded(model, cells, plan, random) if isinstance(model, Model) else None
        folds = []
        for study in studies:
            seen = fixed or _embedded(_trained(model, cells, study), cells, plan, random)
            folds.append(_fold(seen, cells, study, plan, random))
    frames = [pd.concat(parts, ignore_index=True) for parts in zip(*folds, strict=True)]
    return Evaluation(*frames)


def _studies(cells: Data, leave_out: str | Sequence[str]) -> list[str]:
    known = sorted(set(cells.studies))
    if len(known) < 2:
        msg = f"To leave a study out there must be another; got only {known}. "
        msg += "Pass several data sets, or name the column of obs that tells studies apart with study_key=."
        raise ValueError(msg)
    if leave_out == "study":
        return known
    asked = check_names("leave_out", leave_out)
    absent = [study for study in asked if study not in known]
    if absent or not asked:
        msg = f"leave_out must be 'study' or a list of studies; not among them: {absent}. Present: {known}."
        raise ValueError(msg)
    return asked


def _changes(genes: Sequence[int], counts: Sequence[float]) -> list[Change]:
    for n in genes:
        check_count("genes", n)
    for share in counts:
        check_range("counts", share, 1.0)
    return changes(tuple(genes), tuple(counts))


def _trained(train_on: Any, cells: Data, study: str) -> Model:
    made = train_on(cells.without(study))
    if not isinstance(made, Model):
        msg = f"model must be a function that returns a scim.model.Model; it returned {type(made).__name__}."
        raise TypeError(msg)
    return made


def _embedded(model: Model, cells: Data, plan: _Plan, random: np.random.Generator) -> _Embedded:
    Z = cells.embed(model)
    sample = draw(np.arange(len(Z)), plan.max_cells, random)
    return _Embedded(model, Z, sample, cell_values(Z[sample], cells.labels[sample], cells.studies[sample], plan.k))


def _fold(
    seen: _Embedded, cells: Data, study: str, plan: _Plan, random: np.random.Generator
) -> tuple[pd.DataFrame, ...]:
    """Return the rows of one study in each of the frames."""
    own = cells.studies == study
    known = reference(
        seen.Z[~own], cells.labels[~own], cells.studies[~own], max_distance=plan.max_distance, random=random
    )
    scores = _scores(cells.labels[own], annotate(seen.Z[own], known, plan.k), known)
    row: dict[str, Any] = {"study": study, **scores.summary}
    row |= summarise(seen.values[seen.values["study"] == study]) | {"nmse": _nmse(seen, cells, own)}
    row["max_distance"] = known.reach
    logger.info("%s left out: %d cells, macro-F1 %.3f", study, own.sum(), scores.summary["macro_f1"])
    robust = [_robust(seen, cells, study, known, change, scores, plan.k, random) for change in plan.changes]
    if robust:
        robust.insert(0, _robust_row(study, "none", None, scores, scores))
    return (
        pd.DataFrame([row]),
        scores.labels.assign(study=study)[["study", *scores.labels]],
        scores.confusion.assign(study=study)[["study", *scores.confusion]],
        pd.DataFrame(robust),
    )


def _scores(true: NDArray[np.object_], predicted: NDArray[np.object_], known: Reference) -> LabelScores:
    return label_scores(true, predicted, seen=known.names.tolist())


def _nmse(seen: _Embedded, cells: Data, own: NDArray[np.bool_]) -> float:
    if seen.model.decoder is None:
        return float("nan")
    chosen = np.zeros(len(own), dtype=np.bool_)
    chosen[seen.sample] = True
    chosen &= own
    return cells.reconstruct(seen.model, chosen, seen.Z[chosen])


def _robust(
    seen: _Embedded,
    cells: Data,
    study: str,
    known: Reference,
    change: Change,
    full: LabelScores,
    k: int,
    random: np.random.Generator,
) -> dict[str, Any]:
    own = cells.studies == study
    Z = cells.embed_changed(seen.model, own, change, random)
    scores = _scores(cells.labels[own], annotate(Z, known, k), known)
    return _robust_row(study, change.kind, change.level, scores, full)


def _robust_row(study: str, change: str, level: float | None, scores: LabelScores, full: LabelScores) -> dict[str, Any]:
    figures = {name: scores.summary[name] for name in ("macro_f1", "macro_f1_ontology", "unknown")}
    whole = full.summary["macro_f1_ontology"]
    ratio = figures["macro_f1_ontology"] / whole if whole else float("nan")
    return {"study": study, "change": change, "level": level, **figures, "ratio": ratio}
