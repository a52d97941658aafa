"""Check what label transfer is given: rows, counts with their genes, groups, and a prior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from scipy import sparse

from scim._core.adata import Groups, group_values
from scim._core.cosine import unit_rows
from scim._core.no_label import read_names
from scim.label_transfer._expression_view import ExpressionView

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from scim._core.types import Doubles, Floats, Ints
    from scim.label_transfer._expression_space import ExpressionPanel


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


def check_studies(studies: ArrayLike | pd.Series[Any] | None, n: int) -> NDArray[np.object_]:
    """Return the name of the study of each of n cells; those without one are a study of their own."""
    if studies is None:
        return np.full(n, "0", dtype=object)
    read = read_names(studies).values
    if len(read) != n:
        msg = f"Expected a study for each of {n} labels, got {len(read)}."
        raise ValueError(msg)
    return np.append(np.asarray(read.categories, dtype=object), "None")[read.codes]


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
