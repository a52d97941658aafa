"""Hits of a search to what they are more often than the samples of the atlas would have it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from scim import atlas as atlases
from scim._core import keys
from scim._core.checks import check_adata, check_choice, check_key, check_names, check_writable
from scim._core.log import logger, warn
from scim._core.searched import Searched, searched
from scim._core.types import Alternative
from scim.tl._enrichment import Samples, measure_enrichment
from scim.tl._filter import primary_condition
from scim.tl._samples import samples_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from numpy.typing import NDArray

    from scim.tl._context import AtlasLike
    from scim.tl._enrichment import Enrichment
    from scim.tl._samples import AtlasSamples

ALL = "all cells"
"""Name of the query when single cells were searched: their hits are joined."""


def enrichment(
    adata: AnnData,
    by: str,
    *,
    sample_key: str,
    study_key: str | None = keys.ATLAS_STUDY,
    alternative: Alternative = "greater",
    atlas: AtlasLike = None,
    key: str = keys.SEARCH,
    key_added: str = keys.ENRICHMENT,
    copy: bool = False,
) -> AnnData | None:
    r"""Say in which tissues, diseases, studies, ... the hits of a search are more frequent than elsewhere.

    Of each sample of the atlas the fraction of its cells that are hits is taken; of a value of `by`, as a tissue, the
    samples that have it are compared with all others. Samples are the replicates, and samples of a study are alike:
    a thousand hits in one sample are one observation, which a test of cells would take for a thousand.

    The fraction of sample s with :math:`n_s` cells varies by :math:`\mu (1 - \mu) (1 / n_s + \rho)`, and the mean of a
    study by :math:`\mu (1 - \mu) \rho_b`. Both are estimated over all values, so that samples of 20 and of 20,000
    cells weigh what they tell, and many samples of one study little more than one. The difference of a value from
    the rest, by generalised least squares, over its standard error under the hypothesis of none follows t with
    Satterthwaite's degrees of freedom :cite:p:`Satterthwaite1946`, skewed as fractions are; no p is less than one
    over the number of ways in which the value could be dealt out to the samples. The q are those of
    :cite:t:`Benjamini1995` over all queries and values of the call.

    Parameters
    ----------
    adata
        Cells searched by :func:`scim.tl.search`, best with `groupby`: each group is a query. The hits of single cells
        are joined to those of one query, `"all cells"`.
    by
        Column of the atlas whose values are tested. Cells for which it is missing are left out.
    sample_key
        Column of the atlas that tells samples apart (donors, if it has no samples), within a study. A sample that has
        cells of several values counts as one for each of them.
    study_key
        Column of the atlas with what samples have in common. `None`, or the same as `by`: samples are independent.
    alternative
        `"greater"`: more hits than the other samples; `"less"`; or `"two-sided"`.
    atlas
        Where the atlas is now, if it is not where it was searched; or the atlas, open.
    key
        `key_added` of the search. Only cells that pass its `where` are counted, as background too.
    key_added
        Name under which the result is written.
    copy
        Whether to return a new AnnData and leave this one alone.

    Returns
    -------
    `None`, or with `copy=True` the new AnnData. Writes, with `key_added="scim_enrichment"`:

    `adata.uns["scim_enrichment"]["table"]` : DataFrame
        A row for each query and value; :func:`scim.get.enrichment` returns it and names its columns.
    `adata.uns["scim_enrichment"]["samples"]` : DataFrame
        A row for each sample: `study`, `sample`, `value`, `n_cells` (all that pass `where`).
    `adata.uns["scim_enrichment"]["queries"]`, `["hits"]` : str (n_queries,), int32 (n_queries, n_samples)
        The hits among the cells of each sample.
    `adata.uns["scim_enrichment"]["params"]`, `["atlas"]` : dict

    Raises
    ------
    KeyError
        There is no search of this name, or the atlas has no such column.
    ValueError
        The cells have one value only, none belongs to a sample, or the atlas is not the one that was searched.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.search(adata, groupby="cell_type", k=500, where="study == 'onek1k'")
    >>> scim.tl.enrichment(adata, "label", sample_key="donor")
    >>> scim.get.enrichment(adata).columns.tolist()[:5]
    ['query', 'value', 'n_samples', 'n_hits', 'n_cells']
    """
    check_adata(adata)
    check_writable(adata, copy=copy)
    check_key(key_added, taken=(keys.EMBED_PARAMS, key))
    check_choice("alternative", alternative, get_args(Alternative))
    check_names("columns", [by, sample_key, *([] if study_key is None else [study_key])])
    study_key = None if study_key == by else study_key
    found = searched(adata, key)
    with _searched_atlas(found.record, atlas) as source:
        background = _background(source, found.record["params"], by, sample_key, study_key)
    queries, hits = _hits(found, background)
    samples = Samples(background.frame["n_cells"].to_numpy(), *_codes(background.frame))
    result = measure_enrichment(hits, samples, alternative=alternative)
    params = {"by": by, "sample_key": sample_key, "study_key": study_key or "", "alternative": alternative, "key": key}
    written: dict[str, Any] = {"params": params, "atlas": dict(found.record["atlas"]), "queries": queries.astype(str)}
    written |= {"samples": background.frame, "hits": hits, "table": _table(queries, hits, background.frame, result)}

    adata = adata.copy() if copy else adata
    adata.uns[key_added] = written
    n_tested, n_sure = int(written["table"]["q"].notna().sum()), int((written["table"]["q"] <= 0.05).sum())
    logger.info("wrote uns[%r]: %d of %d tested values have q <= .05", key_added, n_sure, n_tested)
    return adata if copy else None


@contextlib.contextmanager
def _searched_atlas(record: dict[str, Any], atlas: AtlasLike) -> Iterator[atlases.Atlas]:
    with atlases.opened_again(record["atlas"], atlas) as source:
        then = record["atlas"].get("version", source.version)
        if then != source.version:
            warn(
                f"The search was made in version {then} of {source.uri!r}, this is {source.version}: cells that came "
                f"since could not be found. Search again, or pass atlas=scim.atlas.open({source.uri!r}, at={then})."
            )
        yield source


def _background(
    atlas: atlases.Atlas, params: dict[str, Any], by: str, sample_key: str, study_key: str | None
) -> AtlasSamples:
    """Return the samples among the cells that could be found: study, sample, value, n_cells."""
    primary = primary_condition(atlas) if params["primary_only"] else None
    given = [condition for condition in (params["where"], primary) if condition]
    ids = atlas.select(" and ".join(f"({condition}\n)" for condition in given)) if given else atlas.ids
    found = samples_of(atlas, ids, list(dict.fromkeys(filter(None, (study_key, sample_key, by)))))
    own = {"study": "" if study_key is None else found.frame[study_key]}
    own |= {"sample": found.frame[sample_key], "value": found.frame[by], "n_cells": found.frame["n_cells"]}
    frame = pd.DataFrame(own, index=found.frame.index)
    if frame["value"].nunique() == 1:
        msg = f"All cells that could be found have {by} == {frame['value'][0]!r}; expected two values to compare."
        raise ValueError(msg)
    return found._replace(frame=frame)


def _codes(frame: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return codes of value and study, in the order of the text."""
    value, study = (pd.factorize(frame[name], sort=True)[0].astype(np.int64) for name in ("value", "study"))
    return value, study


def _hits(found: Searched, background: AtlasSamples) -> tuple[NDArray[np.object_], NDArray[np.int32]]:
    """Count the hits among the cells of each sample, (n_queries, n_samples)."""
    grouped = "groups" in found.record
    queries = found.queries if grouped else np.array([ALL], dtype=object)
    out = np.zeros((len(queries), len(background.frame)), dtype=np.int32)
    for i, ids in enumerate(found.ids if grouped else [np.unique(found.ids)]):
        place = np.minimum(np.searchsorted(background.ids, ids), background.ids.size - 1)
        of_sample = background.sample[place[background.ids[place] == ids]]
        out[i] = np.bincount(of_sample, minlength=out.shape[1])
    return queries, out


def _table(
    queries: NDArray[np.object_], hits: NDArray[np.int32], samples: pd.DataFrame, result: Enrichment
) -> pd.DataFrame:
    """Return the tidy frame: for each query its values, the most significant first."""
    of = samples.groupby("value", sort=True)
    n_queries, n_values = result.p.shape
    codes, values = pd.factorize(samples["value"], sort=True)
    n_hits = np.stack([np.bincount(codes, row, n_values) for row in hits])
    fraction, background = result.fraction.ravel(), result.background.ravel()
    with np.errstate(divide="ignore", invalid="ignore"):
        fold = np.log2(fraction / background)
    p = result.p.ravel()
    few = [
        f"too few samples: p cannot be below {least:.2g}" if least > 0.05 else "all samples are alike"
        for least in result.least
    ]
    reason = np.where(np.any(hits, axis=1, keepdims=True), np.array(few, dtype=object), "no hits").ravel()
    frame = pd.DataFrame(
        {
            "query": np.repeat(queries.astype(str).astype(object), n_values),
            "value": np.tile(np.asarray(values, dtype=object), n_queries),
            "n_samples": np.tile(of.size().to_numpy(), n_queries),
            "n_hits": n_hits.ravel().astype(np.int64),
            "n_cells": np.tile(of["n_cells"].sum().to_numpy(), n_queries),
            "fraction": fraction,
            "background": background,
            "log2_fold_change": fold,
            "p": p,
            "q": _q_values(p),
            "reason": np.where(np.isnan(p), reason, ""),
        }
    )
    order = np.lexsort((-fold, p, np.repeat(np.arange(n_queries), n_values)))
    return frame.iloc[order].reset_index(drop=True)


def _q_values(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return false discovery rates over all p that there are."""
    from scipy.stats import false_discovery_control  # noqa: PLC0415  (scipy.stats takes half a second)

    tested = ~np.isnan(p)
    q = np.full(p.size, np.nan)
    if tested.any():
        q[tested] = false_discovery_control(p[tested])
    return q
