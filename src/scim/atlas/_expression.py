"""The expression reference of an atlas: made of the samples of counts when the index is built, extended by appends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scim._core import FormatError, keys, logger
from scim.atlas._samples import draw, read_ids, read_sample
from scim.atlas.commit import REMEDY, address, load_arrays, load_ids, store_arrays
from scim.atlas.soma import COUNTS, COUNTS_PATH, MEASUREMENT, VAR_PATH, IntegrityChecker
from scim.io.cells import SparseRows
from scim.label_transfer import CountSample, ExpressionReference
from scim.pp._gene_names import known_genes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.atlas._labels import LabelledCells
    from scim.atlas.commit import StoredArray, Transaction
    from scim.atlas.storage import Storage

_READ = 4096  # cells whose stored counts are read at a time


def read_expression(storage: Storage, entry: StoredArray) -> ExpressionReference:
    """Read an expression reference; `FormatError` if it is missing, or does not have its checksum."""
    return ExpressionReference.from_arrays(load_arrays(storage, entry), address(storage, entry), remedy=REMEDY)


def write_expression(transaction: Transaction, expression: ExpressionReference) -> StoredArray:
    """Write an expression reference as a file of the coming commit."""
    name = f"expression/{transaction.number:06d}.npz"
    return store_arrays(transaction.storage, name, expression.to_arrays(), len(expression.labels))


def existing(expression: ExpressionReference, cells: LabelledCells) -> ExpressionReference | None:
    """Return the pairs of label and study that still have a cell; `None` without any."""
    return expression.among(_with_cells(expression, cells, np.unique(cells.pairs)))


def restrict_expression(
    transaction: Transaction, entry: StoredArray | None, cells: LabelledCells
) -> StoredArray | None:
    """Return an expression reference of the pairs that still have a cell; the same file, if all have."""
    if entry is None:
        return None
    before = read_expression(transaction.storage, entry)
    left = existing(before, cells)
    return entry if left is before else None if left is None else write_expression(transaction, left)


def _with_cells(expression: ExpressionReference, cells: LabelledCells, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which pairs of an expression reference are among pairs as :attr:`LabelledCells.pairs` has them."""
    label = pd.Index(cells.labels.names).get_indexer(pd.Index(expression.labels)).astype(np.int64)
    study = pd.Index(cells.study_names).get_indexer(pd.Index(expression.studies))
    known = (label >= 0) & (study >= 0)
    return known & np.isin(label * max(1, len(cells.study_names)) + study, pairs)


def extend_expression(
    transaction: Transaction, entry: StoredArray, samples: Sequence[StoredArray], obs: pd.DataFrame
) -> StoredArray:
    """Add the pairs of label and study of appended cells, from their samples; `obs` has the cells by ascending id."""
    storage, first = transaction.storage, transaction.manifest.n_rows
    parts = [read_sample(storage, sample, first + len(obs)) for sample in samples]
    appended = [part._replace(ids=part.ids - first) for part in parts]
    labels, studies = (obs[name].to_numpy(dtype=object) for name in (keys.ATLAS_LABEL, keys.ATLAS_STUDY))
    before = read_expression(storage, entry)
    new = ExpressionReference.of(appended, labels, studies, before.genes, before.share)
    return entry if new is None else write_expression(transaction, before.merged(new))


def measure_expression(
    transaction: Transaction, experiment: Any, cells: LabelledCells
) -> tuple[ExpressionReference | None, list[CountSample]]:
    """Return the expression of the labels, and the counts that it was measured with, for the calibration.

    Where cells of a pair of label and study have neither sample nor stored counts, its means are those of the published
    index. If that is so for most pairs, the published expression reference is extended instead, and no counts are
    returned: the calibration that was measured with the counts that there were then stays.
    """
    samples = _read_samples(transaction, experiment, cells)
    labels = np.append(cells.labels.names, [None])[cells.labels.codes]
    studies = cells.study_names[cells.studies] if len(cells.study_names) else labels
    before = _published(transaction, cells)
    sampled = [cells.pairs[sample.ids] for sample in samples]
    covered = np.ones(0, dtype=np.bool_)
    if before is not None:
        covered = _with_cells(before, cells, np.unique(np.concatenate([np.empty(0, dtype=np.int64), *sampled])))
    if before is None or covered.all():
        return ExpressionReference.of(samples, labels, studies), samples
    measured = ExpressionReference.of(samples, labels, studies, before.genes, before.share)
    if measured is None:
        return before, []
    left = before.among(~covered)
    if left is None or covered.mean() >= 0.5:
        return measured if left is None else measured.merged(left), samples
    return before.merged(measured), []


def _published(transaction: Transaction, cells: LabelledCells) -> ExpressionReference | None:
    """Return the published expression reference, of pairs that have cells, if there is one that can be read."""
    entry = transaction.manifest.published.expression
    try:
        return None if entry is None else existing(read_expression(transaction.storage, entry), cells)
    except FormatError as error:
        logger.warning("the expression of the labels is measured without that of the last build: %s", error)
        return None


def _read_samples(transaction: Transaction, experiment: Any, cells: LabelledCells) -> list[CountSample]:
    """Return counts of at most 60 cells of each pair, and 20,000 in all.

    They are read from the samples, and of pairs without a sample from the stored counts.
    """
    storage, manifest, pairs = transaction.storage, transaction.manifest, cells.pairs
    sampled, counted = np.zeros_like(pairs, dtype=np.bool_), np.zeros_like(pairs, dtype=np.bool_)
    sampled[read_ids(storage, manifest.samples, len(pairs))] = True
    for entry in manifest.counted:
        counted[entry.start : entry.stop] = True
    counted &= ~np.isin(pairs, pairs[sampled])
    drawn = draw(np.where(sampled | counted, pairs, -1))
    samples = [read_sample(storage, entry, len(pairs)).among(drawn) for entry in manifest.samples]
    if (drawn & counted).any():
        samples += _read_stored(transaction, experiment, np.flatnonzero(drawn & counted))
    return [sample for sample in samples if len(sample.ids)]


def _read_stored(transaction: Transaction, experiment: Any, ids: NDArray[np.int64]) -> list[CountSample]:
    """Return stored counts of human genes of cells, for each panel of genes."""
    storage, manifest = transaction.storage, transaction.manifest
    integrity = IntegrityChecker(storage, manifest)
    integrity.check(COUNTS_PATH)
    integrity.check(VAR_PATH)
    rna = experiment.ms[MEASUREMENT]
    var = rna.var.read(column_names=["soma_joinid", "gene_id"]).concat().to_pandas()
    names = var.set_index("soma_joinid")["gene_id"].sort_index().to_numpy(dtype=object)
    samples = []
    for panel in dict.fromkeys(counted.panel for counted in manifest.counted):
        of_panel = np.concatenate([ids[entry.among(ids)] for entry in manifest.counted if entry.panel == panel])
        genes = load_ids(storage, panel, len(names))
        kept = np.flatnonzero(known_genes(names[genes]))
        if not of_panel.size or not kept.size:
            continue
        rows = SparseRows(rna.X[COUNTS], of_panel, genes)
        parts = [rows[start : start + _READ][:, kept] for start in range(0, of_panel.size, _READ)]
        samples.append(CountSample(of_panel, sparse.vstack(parts, format="csr"), names[genes[kept]]))
    return samples
