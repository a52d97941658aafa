"""Evaluation of a model: each study is left out, labelled by the others, and compared with its true labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from scim._core import (
    ScimWarning,
    check_count,
    check_flags,
    check_names,
    check_range,
    check_rng,
    check_text,
    check_text_or_none,
    logger,
)
from scim._core.cosine import is_directed
from scim._core.no_label import clean_text
from scim.label_transfer import LabelTransfer
from scim.model import Model
from scim.training.evaluation._data import COUNTS, GENES, Change, opened_cells
from scim.training.evaluation._embedding_scores import MAX_CELLS, cell_scores, draw_cells, summarise
from scim.training.evaluation._label_scores import label_scores, level_terms, roll_up

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from scim._core.types import Floats, Transform
    from scim.label_transfer import Prediction
    from scim.training.data import Inputs
    from scim.training.evaluation._data import LabelledCells
    from scim.training.evaluation._label_scores import LabelScores

    TrainOn: TypeAlias = Callable[[Mapping[str, Any]], Model]


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Scores of a model on studies left out; :func:`evaluate` makes it.

    Attributes
    ----------
    studies
        One row a study: `study`; the summary of :func:`scim.training.evaluation.label_scores`; the measures of
        :func:`scim.training.evaluation.embedding_scores` over the cells of this study, among those of all; `nmse`, the
        normalised mean squared error of the decoder; `confidence`, the mean over the cells; `n_cells_empty`, cells of
        the study without counts in the model's genes, which are left out.
    labels
        One row a study and true label: `study` and the frame of labels of `label_scores`.
    confusion
        One row a study and pair that occurs: `study`, `true`, `predicted` (missing = unknown), `n` cells.
    robustness
        One row a study and change: `study`, `change` (`none`, `genes`, `counts`, `lognorm`), `level`, `macro_f1`,
        `macro_f1_ontology`, `unknown`, and `ratio`, of `macro_f1_ontology` to that of the unchanged cells. Empty by
        default.
    """

    studies: pd.DataFrame
    labels: pd.DataFrame
    confusion: pd.DataFrame
    robustness: pd.DataFrame

    @property
    def mean(self) -> pd.Series[Any]:
        """Mean of every score over the studies, each with the same weight; studies without a value are left out."""
        return self.studies.drop(columns="study").mean()

    def __repr__(self) -> str:
        mean = self.mean
        scores = ", ".join(f"{name} {mean[name]:.3f}" for name in ("accuracy", "macro_f1", "macro_f1_ontology"))
        return f"Evaluation on {len(self.studies)} studies left out: {scores}"


def evaluate(
    model: Model | TrainOn,
    data: Inputs,
    *,
    label_key: str,
    study_key: str | None = None,
    leave_out: str | Sequence[str] = "study",
    k: int = 50,
    max_error: float = 0.1,
    levels: Sequence[str] = (),
    robustness: bool = False,
    genes: Sequence[int] = GENES,
    counts: Sequence[float] = COUNTS,
    max_cells: int = MAX_CELLS,
    layer: str | None = None,
    transform: Transform | None = None,
    gene_key: str | None = None,
    rng: int | np.random.Generator | None = None,
) -> Evaluation:
    """Leave studies out one by one, predict their labels from the others, and compare with their true labels.

    The cells of the study left out are labelled by :class:`scim.label_transfer.LabelTransfer` from the other studies,
    as :func:`scim.tl.annotate` labels them by default. The embedding is measured beside it.

    A model that was trained on the study left out has seen it: for scores on new studies pass a function that trains.
    Embeddings of all cells are in memory, four bytes a number; counts are read in blocks.

    Parameters
    ----------
    model
        A trained model; or a function that trains one for each study left out, from a dict of the other studies that
        :func:`scim.model.train` takes; in a file or an atlas the cells of the study left out have no label.
    data
        Labelled cells with counts, as :func:`scim.model.train` takes them.
    label_key
        Column of obs with the labels: Cell Ontology ids or names, or free words. Cells without a label are left out.
    study_key
        Column of obs with the study of each cell. Default: each data set is a study.
    leave_out
        `"study"`: every study in turn; or a list of the studies to leave out, one at a time.
    k
        Number of neighbours, for label transfer and for purity.
    max_error
        Share of wrong predictions that is tolerated, as in :func:`scim.tl.annotate`: less confident cells are unknown.
        1 labels all.
    levels
        Cell Ontology ids or names to which true and predicted labels are rolled up before they are compared: to the
        most specific one at or above a label, if there is one. Default: labels are compared as they are.
    robustness
        Whether to label the cells again with genes and counts taken away, and from log-normalised values.
    genes
        Numbers of random genes to keep, of those that the study measured and the model reads.
    counts
        Shares of the counts to keep, by binomial thinning.
    max_cells
        Of more cells, so many are drawn to measure the embedding, in time that grows with their square.
    layer
        Layer of the counts; default: wherever they are found.
    transform
        What was done to the counts, see :func:`scim.pp.find_counts`; default: what their values tell.
    gene_key
        Column of var that holds the gene names; default: the index, or the column with most human genes.
    rng
        Seed or generator, of samples and of changes.

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
    check_text(label_key=label_key)
    check_text_or_none(study_key=study_key, layer=layer, gene_key=gene_key)
    check_flags(robustness=robustness)
    check_count("k", k)
    check_count("max_cells", max_cells, least=2)
    check_range("max_error", max_error, 1.0)
    if not isinstance(model, Model) and not callable(model):
        msg = f"model must be a scim.model.Model, or a function that trains one; got {type(model).__name__}."
        raise TypeError(msg)
    changes = _changes(genes, counts) if robustness else []
    terms, random = level_terms("levels", levels), check_rng(rng)
    places: dict[str, Any] = {"layer": layer, "transform": transform, "gene_key": gene_key}
    with opened_cells(data, label_key=label_key, study_key=study_key, **places) as cells:
        studies = _studies(cells, leave_out)
        scorer = partial(_StudyScorer, cells, k, max_error, max_cells, terms, changes, random)
        fixed = scorer(model) if isinstance(model, Model) else None
        rows = [(fixed or scorer(_trained(model, cells, study))).score(study) for study in studies]
    rows = [row for row in rows if row]
    if not rows:
        msg = f"No cell of the studies {studies} has a count in the model's genes; expected counts."
        raise ValueError(msg)
    return Evaluation(*(pd.concat(parts, ignore_index=True) for parts in zip(*rows, strict=True)))


def _studies(cells: LabelledCells, leave_out: str | Sequence[str]) -> list[str]:
    present = sorted(set(cells.studies))
    if len(present) < 2:
        msg = f"To leave a study out there must be another; got only {present}. Pass several data sets, or study_key=."
        raise ValueError(msg)
    if leave_out == "study":
        return present
    names = list(map(clean_text, check_names("leave_out", leave_out)))
    absent = [study for study in names if study not in present]
    if absent or not names:
        msg = f"leave_out must be 'study' or a list of studies; not among them: {absent}. Present: {present}."
        raise ValueError(msg)
    return names


def _changes(genes: Sequence[int], counts: Sequence[float]) -> list[Change]:
    for n in genes:
        check_count("genes", n)
    for share in counts:
        check_range("counts", share, 1.0)
    return [*(Change("genes", n) for n in genes), *(Change("counts", n) for n in counts), Change("lognorm", None)]


def _trained(train_on: Any, cells: LabelledCells, study: str) -> Model:
    model = train_on(cells.without(study))
    if not isinstance(model, Model):
        msg = f"model must be a function that returns a scim.model.Model; it returned {type(model).__name__}."
        raise TypeError(msg)
    return model


@dataclass(eq=False)
class _StudyScorer:
    """Scores of one model on studies that are left out; the fields are the arguments of :func:`evaluate`."""

    cells: LabelledCells
    k: int
    max_error: float
    max_cells: int
    levels: list[str]
    changes: list[Change]
    random: np.random.Generator
    model: Model

    def __post_init__(self) -> None:
        self.Z = self.cells.embed(self.model)
        self.has_counts = is_directed(self.Z)
        self.sample = draw_cells(np.flatnonzero(self.has_counts), self.max_cells, self.random)
        labels, studies = self.cells.labels[self.sample], self.cells.studies[self.sample]
        self.cell_scores = cell_scores(self.Z[self.sample], labels, studies, self.k)

    def score(self, study: str) -> tuple[pd.DataFrame, ...]:
        """Return the rows of one study in each of the frames, of cells with counts; nothing if it has none."""
        of_study = self.cells.studies == study
        held_out, others = of_study & self.has_counts, ~of_study & self.has_counts
        Z, labels = self.Z, self.cells.labels
        n_empty = int(of_study.sum() - held_out.sum())
        if n_empty:
            share = 100 * n_empty / of_study.sum()
            logger.info(
                "%s: %d cells (%.1f %%) have no count in the model's genes, and are left out", study, n_empty, share
            )
        if not held_out.any():
            return ()
        if not others.any():
            msg = f"No cell of the studies beside {study!r} has a count in the model's genes; expected counts."
            raise ValueError(msg)
        transfer = LabelTransfer.fit(Z[others], labels[others], self.cells.studies[others])
        prediction = self._predict(transfer, Z[held_out])
        scores = self._compare(labels[held_out], prediction.labels, transfer)
        row: dict[str, Any] = {"study": study, **scores.summary, "n_cells_empty": n_empty}
        row |= summarise(self.cell_scores[self.cell_scores["study"] == study])
        row |= {"nmse": self._nmse(held_out), "confidence": float(prediction.confidence.mean())}
        logger.info("%s left out: %d cells, macro-F1 %.3f", study, held_out.sum(), scores.summary["macro_f1"])
        return (
            pd.DataFrame([row]),
            scores.labels.assign(study=study)[["study", *scores.labels]],
            scores.confusion.assign(study=study)[["study", *scores.confusion]],
            self._robustness(study, held_out, transfer, scores),
        )

    def _predict(self, transfer: LabelTransfer, Z: Floats) -> Prediction:
        """Predict labels; that the limit of errors cannot be kept is no warning, because errors are measured here."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScimWarning)
            return transfer.predict(Z, k=self.k, max_error=self.max_error)

    def _compare(
        self, true: NDArray[np.object_], predicted: NDArray[np.object_], transfer: LabelTransfer
    ) -> LabelScores:
        """Return the scores of predicted labels at the levels of comparison."""
        seen = roll_up(transfer.labels, self.levels).tolist()
        return label_scores(roll_up(true, self.levels), roll_up(predicted, self.levels), seen=seen)

    def _nmse(self, held_out: NDArray[np.bool_]) -> float:
        if self.model.decoder is None:
            return float("nan")
        chosen = np.zeros_like(held_out)
        chosen[self.sample] = True
        chosen &= held_out
        return self.cells.reconstruction_error(self.model, chosen, self.Z[chosen])

    def _robustness(
        self, study: str, held_out: NDArray[np.bool_], transfer: LabelTransfer, unchanged: LabelScores
    ) -> pd.DataFrame:
        """Return a row of scores for each change of the cells of a study."""
        compared: list[tuple[str, float | None, LabelScores]] = [("none", None, unchanged)] if self.changes else []
        for change in self.changes:
            Z = self.cells.embed_changed(self.model, held_out, change, self.random)
            predicted = self._predict(transfer, Z).labels
            scores = self._compare(self.cells.labels[held_out], predicted, transfer)
            compared.append((change.kind, change.level, scores))
        whole, rows = unchanged.summary["macro_f1_ontology"], []
        for kind, level, (summary, *_) in compared:
            row: dict[str, Any] = {"study": study, "change": kind, "level": level}
            row |= {name: summary[name] for name in ("macro_f1", "macro_f1_ontology", "unknown")}
            rows.append(row | {"ratio": summary["macro_f1_ontology"] / whole if whole else float("nan")})
        return pd.DataFrame(rows)
