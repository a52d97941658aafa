"""Check what label transfer is given: rows, counts with their genes, groups, and a prior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, get_args

import numpy as np
import pandas as pd
from scipy import sparse

from scim import ontology
from scim._core import Duplicates, FormatError, Weights, check_choice, check_count, check_range, logger
from scim._core.adata import Groups, group_values
from scim._core.cosine import is_directed, unit_rows
from scim._core.no_label import read_names
from scim.io.cells import check_sparse
from scim.label_transfer._expression_view import ExpressionView

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from scim._core.no_label import Texts
    from scim._core.types import Doubles, Floats, Ints
    from scim.label_transfer._expression_space import ExpressionPanel
    from scim.label_transfer._reference import NeighbourIndex

_READ = 65_536  # embeddings of an index that are in memory at a time


class CountRows(Protocol):
    """Counts that are read by rows, as :class:`scim.pp.Counts`."""

    @property
    def n_obs(self) -> int:
        """Number of cells."""

    def rows(self, start: int, stop: int) -> sparse.csr_matrix:
        """Return the counts of consecutive cells."""


def check_rows(X: ArrayLike | None, *, what: str, n: int | None = None, dim: int | None = None) -> Floats:
    """Return finite rows of unit length; those that are so long already stay as they are, bit for bit."""
    rows = np.asarray(X)
    if rows.ndim != 2 or rows.dtype.kind not in "fiu":
        msg = f"Expected {what} as a table of numbers, got {rows.dtype} of shape {rows.shape}."
        raise ValueError(msg)
    if n not in (None, len(rows)) or dim not in (None, rows.shape[1]):
        msg = f"Expected {what} of shape {(n or 'n', dim or 'dim')}, got {rows.shape}."
        raise ValueError(msg)
    rows = np.ascontiguousarray(rows, dtype=np.float32 if rows.dtype != np.float64 else np.float64)
    is_unit = np.abs(np.linalg.norm(rows, axis=1) - 1) < 1e-4
    out = unit_rows(rows, what=what)
    out[is_unit] = rows[is_unit]
    return out


def check_choices(
    k: int, top: int, weights: Weights, duplicates: Duplicates, max_error: float, max_distance: float
) -> tuple[int, int]:
    """Return `k` and `top`; raise TypeError or ValueError for arguments of a prediction that are out of range."""
    check_choice("weights", weights, get_args(Weights))
    check_choice("duplicates", duplicates, get_args(Duplicates))
    check_range("max_error", max_error, 1.0)
    check_range("max_distance", max_distance, 2.0)
    return check_count("k", k), check_count("top", top)


class QueryCounts(NamedTuple):
    """Counts of queries, and the gene of each column."""

    counts: CountRows | sparse.csr_matrix
    genes: NDArray[np.object_]

    def rows(self, start: int, stop: int) -> sparse.csr_matrix:
        """Return the counts of consecutive queries."""
        if sparse.issparse(self.counts):
            return sparse.csr_matrix(self.counts[start:stop])
        return self.counts.rows(start, stop)


def query_counts(
    counts: CountRows | sparse.csr_matrix | None, genes: NDArray[np.object_] | None, n: int
) -> QueryCounts | None:
    """Return the counts of n queries with their genes; `None` without."""
    if (counts is None) != (genes is None):
        msg = "Expected counts and the gene of each of their columns, or neither."
        raise ValueError(msg)
    if counts is None or genes is None:
        return None
    if sparse.issparse(counts):
        check_sparse(counts, "The counts")
    n_cells = counts.shape[0] if sparse.issparse(counts) else counts.n_obs
    if n_cells != n:
        msg = f"Expected counts of {n} queries, got {n_cells}."
        raise ValueError(msg)
    if sparse.issparse(counts) and counts.shape[1] != len(genes):
        msg = f"Expected a gene for each of {counts.shape[1]} columns of counts, got {len(genes)}."
        raise ValueError(msg)
    return QueryCounts(counts, np.asarray(genes, dtype=object))


def check_prior(prior: NDArray[np.floating[Any]], labels: NDArray[np.object_]) -> Floats:
    """Return checked factors of the votes of labels, (n_labels,)."""
    factor = np.asarray(prior, dtype=np.float32)
    if factor.shape != labels.shape or not np.isfinite(factor).all() or (factor < 0).any() or not factor.any():
        msg = f"prior must be a positive number or 0 for each of {len(labels)} labels, not 0 for all; got {prior!r}."
        raise ValueError(msg)
    return factor


def compare(
    panel: ExpressionPanel | None, expressed: QueryCounts | None, prior: Floats | None, start: int, stop: int
) -> tuple[Floats | None, Doubles | None]:
    """Return factors of the votes, (n, n_labels), and novelty features of queries; `None` = by the embedding alone."""
    if panel is None or expressed is None:
        return None if prior is None else np.tile(prior, (stop - start, 1)), None
    features = panel.features(expressed.rows(start, stop))
    factors = ExpressionView.vote_factors(features)
    return factors if prior is None else factors * prior, features.novelty


def label_codes(given: Texts, empty: Ints) -> tuple[Ints, list[str]]:
    """Return the code of the label of each cell, -1 = none, and the labels; the cells `empty` are left out."""
    labels = ontology.standardize(given.values)
    n_labelled = int(pd.notna(labels).sum())
    labels[empty] = None
    codes, names = pd.factorize(labels, sort=True)
    n_empty = n_labelled - int((codes >= 0).sum())
    if not len(names):
        why = given.describe() or "there are no cells"
        why = f"{n_empty:,} labelled cells have no counts: their embedding is zeros" if n_empty else why
        msg = f"No cell has a label; expected at least one ({why})."
        raise ValueError(msg)
    if n_empty:
        logger.info("left out %d of %d labelled cells: they have no counts", n_empty, n_labelled)
    return codes, list(names)


def empty_ids(index: NeighbourIndex) -> Ints:
    """Return the ids, from 0 on, of the rows of zeros of an index."""
    if hasattr(index, "empty_ids"):
        return np.asarray(index.empty_ids)
    starts = range(0, index.n_rows, _READ)
    chunks = (np.arange(start, min(start + _READ, index.n_rows)) for start in starts)
    return np.concatenate([np.empty(0, dtype=np.int64), *(ids[~is_directed(index.vectors(ids))] for ids in chunks)])


def check_neighbours(ids: Ints, n: int) -> None:
    """Raise FormatError if an index gives ids that are not of the reference's `n` cells."""
    largest = int(ids.max(initial=-1))
    if largest >= n:
        msg = f"The index has the id {largest}, but the reference has the cells 0 to {n - 1}; "
        msg += "pass the index of these cells."
        raise FormatError(msg)


def check_measured(counts: sparse.csr_matrix | None, genes: NDArray[np.object_] | None, n: int) -> None:
    """Check the counts of n reference cells, and the gene of each column."""
    if counts is not None:
        check_sparse(counts, "The counts")
    shape = None if genes is None else (n, len(genes))
    if (None if counts is None else counts.shape) != shape:
        msg = f"Expected counts of {n} cells and a gene for each of their columns, or neither."
        raise ValueError(msg)


def check_studies(studies: ArrayLike | pd.Series[Any] | None, n: int) -> NDArray[np.object_]:
    """Return the name of the study of each of n cells; those without one are a study of their own."""
    if studies is None:
        return np.full(n, "0", dtype=object)
    names = read_names(studies).texts
    if len(names) != n:
        msg = f"Expected a study for each of {n} labels, got {len(names)}."
        raise ValueError(msg)
    return np.array([name or "None" for name in names], dtype=object)


def check_groups(groups: ArrayLike | pd.Series[Any] | Groups | None, n: int) -> Groups | None:
    """Return the groups of n queries."""
    members = groups if groups is None or isinstance(groups, Groups) else group_values(groups, "groups")
    if members is not None and len(members.codes) != n:
        msg = f"Expected a group for each of {n} queries, got {len(members.codes)}."
        raise ValueError(msg)
    return members


def distinct_rows(rows: Floats, labelled: Ints) -> Ints:
    """Return the positions of labelled rows, ascending; of rows that are equal to four decimals, the first."""
    rounded = np.round(rows[labelled], 4) + 0.0  # no -0.0
    first: Ints = np.unique(rounded, axis=0, return_index=True)[1]
    return labelled[np.sort(first)]
