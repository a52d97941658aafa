"""How far fractions differ between samples, and between studies, beyond what numbers of cells explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDS = 8
"""Weights follow from the spread and the spread from weights; after this many rounds nothing moves."""
_FITS = 5
"""Turns of fitting studies and values one after the other; those who share few samples need two."""


class Spread(NamedTuple):
    """Variance between things, in units of mean * (1 - mean)."""

    size: NDArray[np.float64]
    """(n_queries, 1), at least 0."""

    df: int
    """Degrees of freedom of it; 0: it cannot be told, and is 0."""


def indicator(codes: NDArray[np.integer], n: int) -> sparse.csr_array:
    """Return the matrix (n_codes, n) that has a 1 where a row has the code of a column; a product with it sums."""
    return sparse.csr_array((np.ones(codes.size), (np.arange(codes.size), codes)), shape=(codes.size, n))


def within_studies(
    f: NDArray[np.float64], known: NDArray[np.float64], in_value: sparse.csr_array, in_study: sparse.csr_array
) -> Spread:
    """Return the spread between samples once each value and each study has an effect of its own.

    Parameters
    ----------
    f
        (n_queries, n_samples) fractions.
    known
        (n_samples,) variance by the number of cells, in units of mean * (1 - mean).
    in_value, in_study
        (n_samples, ...) indicators.
    """
    df = f.shape[1] - _rank(in_value, in_study)
    size, fit = np.zeros((len(f), 1)), np.zeros_like(f)
    for _ in range(_ROUNDS if df > 0 else 0):
        w = 1 / (known + size)
        of_value, of_study = w @ in_value, w @ in_study
        for _ in range(_FITS):
            fit = fit + ((w * (f - fit)) @ in_study / of_study) @ in_study.T
            fit = fit + ((w * (f - fit)) @ in_value / of_value) @ in_value.T
        mean = (w * f) @ in_value / of_value
        # How far a sample draws the fit to itself: near enough, and in all the number of effects.
        lever = w * (1 / (of_value @ in_value.T) + 1 / (of_study @ in_study.T))
        lever *= (f.shape[1] - df) / lever.sum(axis=1, keepdims=True)
        free = w * np.maximum(1 - lever, 0) * ((mean * (1 - mean)) @ in_value.T)
        size = _solved((w * (f - fit) ** 2).sum(axis=1, keepdims=True), free, known)
    return Spread(size, max(df, 0))


def between_studies(
    mean: NDArray[np.float64], known: NDArray[np.float64], in_value: sparse.csr_array, n_studies: int
) -> Spread:
    """Return the spread between studies of the same value.

    Parameters
    ----------
    mean, known
        (n_queries, n) means of the samples of a study and value, and their variance without that of studies.
    in_value
        (n, n_values) indicator.
    n_studies
        Number of studies.
    """
    size = np.zeros((len(mean), 1))
    df = min(mean.shape[1] - in_value.shape[1], n_studies - 1)
    for _ in range(_ROUNDS if df > 0 else 0):
        w = 1 / (known + size)
        total = w @ in_value
        centre = (w * mean) @ in_value / total
        free = w * (1 - w / (total @ in_value.T)) * ((centre * (1 - centre)) @ in_value.T)
        size = _solved((w * (mean - centre @ in_value.T) ** 2).sum(axis=1, keepdims=True), free, known)
    return Spread(size, max(df, 0))


def _solved(squares: NDArray[np.float64], free: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the spread at which weighted squares are as large as expected, sum of free * (known + spread)."""
    scale = free.sum(axis=1, keepdims=True)
    excess = squares - (free * known).sum(axis=1, keepdims=True)
    solved: NDArray[np.float64] = np.maximum(np.divide(excess, scale, out=np.zeros_like(scale), where=scale > 0), 0)
    return solved


def _rank(one: sparse.csr_array, other: sparse.csr_array) -> int:
    """Return how many effects two groupings of the same rows have together."""
    shared = one.T @ other
    graph = sparse.block_array([[None, shared], [shared.T, None]])
    return int(sum(shared.shape) - csgraph.connected_components(graph)[0])
