"""Test whether samples of one value have more hits than others: samples are the replicates, not cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

from scim.tl._enrichment_contrast import Fit, Tested, contrast_values
from scim.tl._enrichment_variance import Design, Groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core import Alternative
    from scim._core.types import Bools, Doubles, Ints

_BLOCK = 1_000_000  # queries times samples at a time: some twenty arrays of this size, 160 MB
_MAX_MIN_P = 0.05  # no p is given where no arrangement of the samples could give one below this
_FEWER = 2  # ways to arrange two groups of n samples, over those that are left without one: C(2n, n) / C(2n - 1, n)
_EXAMINED = 0.05  # p up to which a difference is tested again without a sample: others are no findings anyway


class Samples(NamedTuple):
    """The replicates, (n_rows,) each; every code from 0 on occurs. A sample has a row for each of its values."""

    n_cells: Ints  # of the atlas that could be hits, at least 1
    value: Ints  # code of the value
    study: Ints  # code of the study; all 0: samples are independent of each other
    sample: Ints  # code of the sample

    def without(self, sample: int) -> tuple[Samples, Bools]:
        """Return the others, with codes from 0 on, and which rows they are."""
        kept = self.sample != sample
        codes = (np.unique(part[kept], return_inverse=True)[1] for part in self[1:])
        return Samples(self.n_cells[kept], *codes), kept


class Enrichment(NamedTuple):
    """Results, with a row for each query and a column for each value."""

    fraction: Doubles  # weighted mean, over the samples that have the value, of the share of their cells that are hits
    background: Doubles  # the same over all other samples; NaN without any
    n_supporting: Ints  # samples of the value that differ from the background to the side of the difference
    p: Doubles  # the larger of p with all samples and half of p without one; NaN: `min_p` is too large, or no hits
    min_p: Doubles  # (n_values,) the smallest p that so many samples can give; 1 where one sample has all of a side


def measure_enrichment(hits: NDArray[np.integer], samples: Samples, *, alternative: Alternative) -> Enrichment:
    """Test each value against all other samples, by the method of :func:`scim.tl.enrichment`.

    `hits` are counts among the cells of each sample, (n_queries, n_samples).
    """
    n_values = int(samples.value.max()) + 1
    min_p = _min_p(samples, n_values) * (2 if alternative == "two-sided" else 1)
    results = [np.full((len(hits), n_values), np.nan) for _ in range(3)]
    step = max(1, _BLOCK // samples.n_cells.size)
    for start in range(0, len(hits), step):
        block = slice(start, start + step)
        for whole, part in zip(results, _test(hits[block], samples, min_p, alternative), strict=True):
            whole[block] = part
    p, fraction, background = results
    supporting = _supporting(hits / samples.n_cells, fraction, background, samples, alternative)
    return Enrichment(fraction, background, supporting, p, np.minimum(min_p, 1))


def _test(
    hits: NDArray[np.integer], samples: Samples, min_p: Doubles, alternative: Alternative
) -> tuple[Doubles, Doubles, Doubles]:
    """Return p, fraction and background of a block of queries."""
    tested = contrast_values(hits, samples.n_cells, Design(samples.value, samples.study), alternative)
    fraction, background = _means(hits / samples.n_cells, tested.weight, samples)
    p = np.where(min_p > _MAX_MIN_P * (1 + 1e-9), np.nan, np.maximum(tested.p, min_p))
    p = np.fmax(p, _p_without_one(hits, samples, p, tested, alternative))
    if alternative != "two-sided":  # weighted means, which are reported, may differ to the other side
        with np.errstate(invalid="ignore"):
            wrong_side = fraction <= background if alternative == "greater" else fraction >= background
        p = np.where(wrong_side, np.maximum(p, 0.5), p)
    return p, fraction, background


def _p_without_one(
    hits: NDArray[np.integer], samples: Samples, p: Doubles, tested: Tested, alternative: Alternative
) -> Doubles:
    """Return half of p without the sample on which each finding rests most; NaN for what is no finding."""
    out = np.full(p.shape, np.nan)
    of_sample: dict[int, list[tuple[int, int]]] = {}
    with np.errstate(invalid="ignore"):
        found = np.argwhere(p <= _EXAMINED)
    for query, value in found:
        strongest = _strongest(tested.x[query], tested.weight[query], samples, value, alternative)
        of_sample.setdefault(strongest, []).append((int(query), int(value)))
    for sample, pairs in of_sample.items():
        others, kept = samples.without(sample)
        queries, row = np.unique([query for query, _ in pairs], return_inverse=True)
        start = Fit(*(part[queries] for part in tested.fit))
        design = Design(others.value, others.study)
        again = contrast_values(hits[queries][:, kept], others.n_cells, design, alternative, start)
        left = np.unique(samples.value[kept])  # their codes in `others` are their positions here
        for i, (query, value) in zip(row, pairs, strict=True):
            column = np.searchsorted(left, value)
            stands = again.more[i, column] == tested.more[query, value] and not np.isnan(again.p[i, column])
            out[query, value] = again.p[i, column] / _FEWER if stands else 1.0  # NaN: the sample had all hits
    return out


def _strongest(x: Doubles, w: Doubles, samples: Samples, value: int, alternative: Alternative) -> int:
    """Return the sample without which the difference of the value from the rest falls most."""
    influence, inside = np.zeros_like(x), samples.value == value
    for side, sign in ((inside, 1.0), (~inside, -1.0)):
        total = w[side].sum()
        rest = np.maximum(total - w[side], 1e-9 * total)
        influence[side] = sign * w[side] * (x[side] - w[side] @ x[side] / total) / rest
    mean_inside, mean_outside = (np.average(x[side], weights=w[side]) for side in (inside, ~inside))
    falls = alternative == "less" or (alternative == "two-sided" and mean_inside < mean_outside)
    of_sample = np.bincount(samples.sample, -influence if falls else influence)
    return int(np.argmax(of_sample))


def _means(f: Doubles, weight: Doubles, samples: Samples) -> tuple[Doubles, Doubles]:
    """Return the weighted mean of the fractions `f` for each value, and over all other samples."""
    by_value = Groups(samples.value)
    total, sums = by_value.sum(weight), by_value.sum(weight * f)
    rest, rest_sums = (x.sum(axis=1, keepdims=True) - x for x in (total, sums))
    background = np.divide(rest_sums, rest, out=np.full_like(rest, np.nan), where=rest > 1e-9 * total)
    return sums / total, np.maximum(background, 0)


def _supporting(f: Doubles, fraction: Doubles, background: Doubles, samples: Samples, alternative: Alternative) -> Ints:
    """Return how many samples of each value have more hits than the background, or fewer where the value has."""
    with np.errstate(invalid="ignore"):
        fewer = np.full(fraction.shape, alternative == "less") | (
            (alternative == "two-sided") & (fraction < background)
        )
        reference, fewer = background[:, samples.value], fewer[:, samples.value]
        supports = np.where(fewer, f < reference, f > reference)
    return Groups(samples.value).sum(supports.astype(np.float64)).astype(np.int64)


def _min_p(samples: Samples, n_values: int) -> Doubles:
    """Return one over the number of ways to assign each value to samples of a study and to whole studies.

    Return 1 where all samples but one have the value, or only one: without it nothing is left to compare.
    """
    pairs, n_pair = np.unique(samples.study * n_values + samples.value, return_counts=True)
    study, value = pairs // n_values, pairs % n_values
    n_study = np.bincount(samples.study)[study]
    ways = np.bincount(value, _log_binomial(n_study, n_pair), n_values)
    whole = n_study == n_pair
    n_whole = np.bincount(value[whole], minlength=n_values)
    least = np.exp(-ways - _log_binomial(whole.sum(), n_whole))
    inside = np.array([np.unique(samples.sample[samples.value == v]).size for v in range(n_values)])
    outside = np.array([np.unique(samples.sample[samples.value != v]).size for v in range(n_values)])
    return np.where((inside < 2) | (outside < 2), 1.0, least)


def _log_binomial(n: NDArray[np.integer], k: NDArray[np.integer]) -> Doubles:
    out: Doubles = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return out
