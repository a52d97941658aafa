"""All cells that train, over the genes of the model, as codes and rows: what batches are drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from scim._core.errors import GeneOverlapError
from scim._core.log import progress, warn
from scim.pp import FEW_GENES, canonical_genes, lognorm
from scim.training.data._genes import LabelSums, choose_genes, marker_ranks
from scim.training.data._labels import code_labels
from scim.training.data._store import CellStore

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.model._labels import Labels
    from scim.training.data._read import DataSet


class TrainingCells(NamedTuple):
    """All labelled cells, aligned to the genes of the model."""

    X: CellStore
    """(n, n_genes) counts."""
    panels: NDArray[np.bool_]
    """(n_data_sets, n_genes) genes that each data set measured."""
    panel: NDArray[np.int64]
    """(n,) row of `panels`."""
    label: NDArray[np.int64]
    """(n,) codes into `labels`."""
    study: NDArray[np.int64]
    """(n,) codes into `studies`."""
    labels: Labels
    studies: tuple[str, ...]
    genes: NDArray[np.object_]
    """(n_genes,) canonical ids."""
    mean_square: NDArray[np.float64]
    """(n_genes,) of the log-normalised counts over all cells."""


def pick_genes(sets: Sequence[DataSet], genes: Sequence[str] | None, n_genes: int) -> NDArray[np.object_]:
    """Return the canonical genes that the model reads: those given, or `n_genes` markers of the labels.

    Raises
    ------
    TypeError, ValueError
        The genes given are no list, are none, or name one gene twice.
    """
    if genes is not None:
        return _measured(_given_genes(genes), sets)
    ranks = []
    for data in sets:
        codes, words = pd.factorize(data.labels)
        sums = LabelSums.zero(len(words), len(data.genes))
        with progress(total=data.n_cells, desc=f"choose genes: {data.name}", unit="cell") as bar:
            for place, X in data.blocks(data.genes):
                sums.add(X, codes[place])
                bar.update(X.shape[0])
        ranks.append(marker_ranks(sums))
    return choose_genes([data.genes for data in sets], ranks, [data.studies for data in sets], n_genes)


def combine(
    sets: Sequence[DataSet],
    genes: NDArray[np.object_],
    *,
    max_memory: int,
    scratch: str | os.PathLike[str] | None = None,
) -> TrainingCells:
    """Bring all data sets to the genes of the model; see :class:`CellStore` for the limit of memory."""
    store = CellStore(len(genes), max_memory=max_memory, scratch=scratch)
    squares = np.zeros(len(genes))
    for data in sets:
        _check_overlap(data, genes)
        with progress(total=data.n_cells, desc=f"read {data.name}", unit="cell") as bar:
            for _, X in data.blocks(genes):
                X.sort_indices()  # so that the same counts train alike, in whatever order they were stored
                store.write(X)
                values = lognorm(sparse.csr_matrix((X.data.copy(), X.indices, X.indptr), shape=X.shape))
                squares += np.bincount(values.indices, np.square(values.data, dtype=np.float64), len(genes))
                bar.update(X.shape[0])
    labels, label = code_labels(np.concatenate([data.labels for data in sets]))
    study, studies = pd.factorize(np.concatenate([data.studies for data in sets]), sort=True)
    panel = np.repeat(np.arange(len(sets)), [data.n_cells for data in sets])
    panels = np.array([data.measured(genes) for data in sets])
    mean_square = squares / len(label)
    return TrainingCells(
        store.finish(), panels, panel, label, study.astype(np.int64), labels, tuple(studies), genes, mean_square
    )


def _check_overlap(data: DataSet, genes: NDArray[np.object_]) -> None:
    n = int(data.measured(genes).sum())
    if n < min(FEW_GENES, max(1, len(genes) // 10)):
        msg = (
            f"{data.name!r} measured only {n} of the {len(genes)} genes that the model reads, too few to learn from. "
            "Leave it out, or name genes that it has with genes=."
        )
        raise GeneOverlapError(msg)


def _given_genes(genes: Sequence[str]) -> NDArray[np.object_]:
    if isinstance(genes, str):
        msg = f"genes must be a list of gene names, got the text {genes!r}."
        raise TypeError(msg)
    canonical = canonical_genes([str(gene) for gene in genes])
    if not len(canonical):
        msg = "genes must name at least one gene, got none; leave it out to have markers of the labels chosen."
        raise ValueError(msg)
    if len(set(canonical)) != len(canonical):
        twice = pd.Index(canonical)[pd.Index(canonical).duplicated()].unique().tolist()
        msg = f"genes names {len(twice)} genes more than once: {twice[:5]}."
        raise ValueError(msg)
    return canonical


def _measured(genes: NDArray[np.object_], sets: Sequence[DataSet]) -> NDArray[np.object_]:
    """Leave out genes that no data set measured: their first weights would stay, and speak in data that have them."""
    known = np.any([data.measured(genes) for data in sets], axis=0)
    if known.all() or not known.any():  # none at all is refused later, with what the data have
        return genes
    absent = genes[~known].tolist()
    warn(f"{len(absent)} of {len(genes)} genes= were measured in no data set, and are left out: {absent[:5]}.")
    return genes[known]
