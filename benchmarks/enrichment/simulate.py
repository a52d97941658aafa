"""Simulate hits of queries in samples of 20 to 20,000 cells with varying fractions, planted effects and outliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SimulatedAtlas(NamedTuple):
    """Hits, samples, and the planted effects."""

    hits: NDArray[np.int64]
    n_cells: NDArray[np.int64]
    value: NDArray[np.int64]
    study: NDArray[np.int64]
    truth: NDArray[np.bool_]
    """(n_queries, n_values): whether the samples of a value have more hits."""


@dataclass(frozen=True)
class Setting:
    """Parameters of a simulated atlas. Values have at least three samples."""

    n_samples: int = 120
    n_values: int = 20
    n_queries: int = 10
    planted: float = 0.1
    fold: float = 4.0
    spread: float = 0.7
    """Standard deviation over mean of the fractions of samples with the same expected fraction."""
    study_spread: float = 0.0
    studies: Literal["crossed", "nested", "pairs"] = "crossed"
    """25 studies of any values; three studies per value; or each study has all samples of two values."""
    sizes_by_value: bool = False
    zeros: float = 0.0
    """Share of samples that have no hits."""
    heavy: bool = False
    """Lognormal instead of gamma."""
    n_hits: int = 0
    """Number of hits of each query, assigned to samples at random; 0: the hits of a sample are independent."""
    outlier: float = 0.0
    """Fraction of one sample, in units of the mean, for all queries in which its value has no planted effect."""


def simulate(setting: Setting, rng: np.random.Generator) -> SimulatedAtlas:
    value = np.r_[np.arange(setting.n_values).repeat(3), rng.integers(setting.n_values, size=setting.n_samples)]
    value = value[: max(setting.n_samples, 3 * setting.n_values)]
    n_cells, study = _sizes(setting, value, rng), _studies(setting, value, rng)
    truth = rng.random((setting.n_queries, setting.n_values)) < setting.planted
    if setting.n_values == 2:  # more hits of one value are fewer of the other
        truth[:, 1] &= ~truth[:, 0]
    mean = np.exp(rng.uniform(np.log(0.003), np.log(0.1), (setting.n_queries, 1)))
    fraction = mean * np.where(truth, setting.fold, 1.0)[:, value]
    fraction = fraction * _noise(setting, setting.spread, fraction.shape, rng)
    fraction = fraction * _noise(setting, setting.study_spread, (setting.n_queries, study.max() + 1), rng)[:, study]
    fraction = fraction * (rng.random(fraction.shape) >= setting.zeros) / (1 - setting.zeros)
    if setting.outlier:
        one = rng.integers(value.size)
        alike = ~truth[:, value[one]]
        fraction[alike, one] = np.minimum(mean[alike, 0] * setting.outlier, 0.9)
    if setting.n_hits:
        expected = fraction * n_cells
        hits = np.stack([rng.multinomial(setting.n_hits, row / row.sum()) for row in expected])
        hits = np.minimum(hits, n_cells)
    else:
        hits = rng.binomial(n_cells, np.minimum(fraction, 0.9))
    return SimulatedAtlas(hits, n_cells, value, study, truth)


def _sizes(setting: Setting, value: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    low, high = np.log(20), np.log(20_000)
    if not setting.sizes_by_value:
        return np.exp(rng.uniform(low, high, value.size)).astype(np.int64)
    centre = rng.permutation(np.linspace(low + 0.5, high - 0.5, setting.n_values))
    return np.exp(np.clip(rng.normal(centre[value], 0.7), low, high)).astype(np.int64)


def _studies(setting: Setting, value: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    if setting.studies == "crossed":
        study = rng.integers(25, size=value.size)
    else:
        study = value // 2 if setting.studies == "pairs" else 3 * value + rng.integers(3, size=value.size)
    return np.unique(study, return_inverse=True)[1]


def _noise(setting: Setting, spread: float, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return factors of mean 1."""
    if spread == 0:
        return np.ones(shape)
    if setting.heavy:
        sigma = np.sqrt(np.log1p(spread**2))
        return np.exp(rng.normal(-(sigma**2) / 2, sigma, shape))
    return rng.gamma(spread**-2, spread**2, shape)
