"""Leave one study out: label its cells by those of the others, and compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from scim._core.checks import check_count, check_names, check_range
from scim.model._model import Model
from scim.training.evaluation._embed import opened_data
from scim.training.evaluation._embedding import MAX_CELLS
from scim.training.evaluation._evaluation import Evaluation
from scim.training.evaluation._fold import Plan, embedded, fold
from scim.training.evaluation._perturb import COUNTS, GENES, Change, changes
from scim.training.evaluation._terms import known_terms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scim.training.data import Inputs
    from scim.training.evaluation._embed import Data

    TrainOn: TypeAlias = Callable[[Mapping[str, Any]], Model]


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
    max_error
        Share of the answers that may be wrong, as in :func:`scim.tl.annotate`: the others are unknown. 1 labels all.
    levels
        Cell Ontology ids or names at which labels are compared: a label, true or predicted, stands for the most
        specific of these at or above it, and for itself if there is none. The vote is by the labels as they are.
        Default: labels are compared as they are.
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
    check_range("max_error", max_error, 1.0)
    if not isinstance(model, Model) and not callable(model):
        msg = f"model must be a scim.model.Model, or a function that trains one; got {type(model).__name__}."
        raise TypeError(msg)
    asked = _changes(genes, counts) if robustness else []
    plan = Plan(k, max_error, max_cells, known_terms("levels", levels), asked)
    random = np.random.default_rng(rng)
    with opened_data(data, label_key=label_key, study_key=study_key, layer=layer, gene_key=gene_key) as cells:
        studies = _studies(cells, leave_out)
        fixed = embedded(model, cells, plan, random) if isinstance(model, Model) else None
        folds = []
        for study in studies:
            seen = fixed or embedded(_trained(model, cells, study), cells, plan, random)
            folds.append(fold(seen, cells, study, plan, random))
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
