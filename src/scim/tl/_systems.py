"""Rank systems of an atlas, as cultures, organoids and tissues, by their similarity to groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from scim._core import check_choice, check_count, check_range, check_rng, check_text, check_text_or_none, keys, logger
from scim.tl._similarity import score_similarity

if TYPE_CHECKING:
    from anndata import AnnData

    from scim._core.types import Doubles
    from scim.tl._inputs import AtlasLike

RankedBy = Literal["quantile", "share"]

_MOST_RESAMPLES = 1_000_000  # of a donor's mean, which take 8 bytes each for every donor
_ASCENDING = ("quantile",)  # a distance is small where a system resembles the state


def rank_systems(
    adata: AnnData,
    groupby: str,
    atlas: AtlasLike = None,
    *,
    system_key: str,
    sample_key: str = "donor",
    study_key: str | None = keys.ATLAS_STUDY,
    by: RankedBy = "quantile",
    min_cells: int = 10,
    level: float = 0.95,
    n_resamples: int = 2000,
    rng: int | np.random.Generator | None = 0,
    **similarity: Any,
) -> pd.DataFrame:
    r"""Rank systems of an atlas by their similarity to each group of cells, with an interval over donors.

    A system is what has one value of a column of the atlas: a culture, an organoid, a tissue, a study. Cells of one
    donor are not independent, so a donor counts once, whatever the number of its cells: the score of a system is the
    mean of those of its donors, and the interval is that of the percentiles of the mean in samples of the donors drawn
    with replacement :cite:p:`Efron1979`.

    Parameters
    ----------
    adata
        Cells embedded by :func:`scim.tl.embed`.
    groupby
        Column of obs; each of its groups is a state.
    atlas
        An open atlas, or the path of one. Default: `scim.settings.atlas`, else the atlas that comes with the package.
    system_key
        Column of the atlas with the systems, as `"tissue_type"`, `"study"`. Cells for which it is missing are left out.
    sample_key
        Column of the atlas with the donors, or other independent samples.
    study_key
        Column of the atlas with the studies, within which names of donors are unique; `None`: they are unique.
    by
        `"quantile"`: distance of the nearest tenth of a donor's cells, or of another `quantile`, the smallest first. It
        compares the cells that are most like the state, few or many, and orders systems without any.
        `"share"`: share of its cells within `max_distance` of the state, the largest first. A system of one sorted type
        has 1 or 0, whatever the state is in tissue; compare cells of one type by `where`.
    min_cells
        A donor with fewer cells in a system is left out.
    level
        Level of the interval, 0 to 1.
    n_resamples
        Number of samples of the donors.
    rng
        Seed or generator; the same seed gives the same interval.
    **similarity
        `where`, `max_distance`, `quantile`, `centroid` and the others of :func:`scim.tl.score_similarity`. Leave the
        study of the query out by `where`, if the atlas has it: nothing resembles a state as much as itself.

    Returns
    -------
    Frame with a row for each state and system, the states in their order, the most similar system first:

    `query`, `system` : str
    `rank` : int64
        From 1; equal scores have the same rank.
    `n_samples`, `n_cells` : int64
        Donors, and their cells in the system.
    `share`, `quantile` : float64
        Means over the donors.
    `low`, `high` : float64
        Interval of the mean of `by`; missing (NaN), and logged, with one donor, since nothing is known of the spread
        over donors. With two or three donors it is within their values, and too narrow.

    Raises
    ------
    KeyError, FilterError
        As :func:`scim.tl.score_similarity`.
    ValueError
        As there, or no donor has `min_cells` cells in a system.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> systems = scim.tl.rank_systems(adata, "cell_type", system_key="tissue_type", where="tissue == 'brain'")
    >>> sorted(systems["system"].unique())
    ['cell culture', 'tissue']
    """
    check_text(system_key=system_key)
    check_text_or_none(sample_key=sample_key)
    check_choice("by", by, get_args(RankedBy))
    min_cells = check_count("min_cells", min_cells)
    n_resamples = check_count("n_resamples", n_resamples, most=_MOST_RESAMPLES)
    check_range("level", level, 1.0)
    generator = check_rng(rng)
    sampled: dict[str, Any] = {"sample_key": sample_key, "study_key": study_key, "system_key": system_key}
    samples = score_similarity(adata, groupby, atlas, **sampled, **similarity)
    with_counts = np.isfinite(samples["quantile"])
    if without := list(dict.fromkeys(samples.loc[~with_counts, "query"])):
        logger.info("left out groups without counts: %s", ", ".join(without))
    if not with_counts.any():
        msg = f"No group of obs[{groupby!r}] has counts in the model's genes; there is nothing to compare."
        raise ValueError(msg)
    samples = samples[with_counts]
    kept = samples[samples["n_cells"] >= min_cells]
    if kept.empty:
        msg = f"No {sample_key} has {min_cells} cells in one {system_key}; pass a smaller min_cells."
        raise ValueError(msg)
    absent = sorted({*samples["system"]} - {*kept["system"]})
    if absent:
        logger.info("left out, with no %s of %d cells: %s", sample_key, min_cells, ", ".join(absent))
    frame = _ranked(kept, by, level, n_resamples, generator)
    single = list(dict.fromkeys(frame.loc[frame["n_samples"] == 1, "system"]))
    if single:
        logger.info("no interval for systems of one %s: %s", sample_key, ", ".join(single))
    return frame


def _ranked(
    samples: pd.DataFrame, by: RankedBy, level: float, n_resamples: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the systems of each state from the scores of its samples."""
    columns = ["query", "system", "rank", "n_samples", "n_cells", "share", "quantile", "low", "high"]
    rows = []
    for (query, system), of in samples.groupby(["query", "system"], sort=False):
        scores = of[by].to_numpy(dtype=np.float64)
        low, high = interval(scores, level, n_resamples, rng)
        share, quantile = of[["share", "quantile"]].astype(np.float64).mean()
        rows.append((query, system, 0, len(of), of["n_cells"].sum(), share, quantile, low, high))
    frame = pd.DataFrame(rows, columns=columns)
    ranks = frame.groupby("query", sort=False)[by].rank(method="min", ascending=by in _ASCENDING)
    frame["rank"] = ranks.astype(np.int64)
    states = pd.factorize(frame["query"])[0]
    return frame.iloc[np.lexsort((frame["quantile"], frame["rank"], states))].reset_index(drop=True)


def interval(scores: Doubles, level: float, n_resamples: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the percentile interval of the mean of samples drawn with replacement; NaN for a single one."""
    if len(scores) == 1:
        return np.nan, np.nan
    means = scores[rng.integers(len(scores), size=(n_resamples, len(scores)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
