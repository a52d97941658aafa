"""Test in which values of a column, over the samples of the atlas, the hits of a search are enriched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from scim._core import Alternative, check_choice, check_flags, check_text, check_text_or_none, keys, logger, warn
from scim._core.adata import SearchResult, search_result
from scim.atlas._open import opened_again
from scim.tl._enrichment_statistics import Samples, measure_enrichment
from scim.tl._inputs import atlas_samples, joint_condition, primary_condition, report_left_out, with_counts
from scim.tl._slots import ENRICHMENT, check_slots, write_slots

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scim._core.types import Doubles, Ints32
    from scim.atlas import Atlas
    from scim.tl._inputs import AtlasLike, AtlasSamples


def enrichment(
    adata: AnnData,
    by: str,
    *,
    sample_key: str,
    study_key: str | None = keys.ATLAS_STUDY,
    alternative: Alternative = "greater",
    only_similar: bool = True,
    atlas: AtlasLike = None,
    key: str = keys.SEARCH,
    key_added: str = keys.ENRICHMENT,
    copy: bool = False,
) -> AnnData | None:
    r"""Test in which tissues, diseases, studies, ... the hits of a search are more frequent than elsewhere.

    For each sample of the atlas the fraction of its cells that are hits is taken; the samples that have a value of
    `by` are compared with all others. Samples are the replicates, not cells, and samples of a study are correlated.

    Of sample s with :math:`h_s` hits among :math:`n_s` cells, :math:`m_s = n_s \mu` of which are expected, the
    deviation from the mean fraction :math:`\mu`, relative to it, is

    .. math:: x_s = \frac{3}{r_s} \left( \sqrt[3]{\frac{h_s + a}{m_s + a}} - 1 + \frac{r_s}{9 a} \right),
        \quad r_s = \frac{m_s}{m_s + a}, \quad a = \frac{1}{\rho + \rho_b}

    (the cube root makes a gamma variable nearly normal :cite:p:`Wilson1931`, and limits what an extreme sample adds).
    Its variance is :math:`1 / m_s + \rho` within studies and :math:`\rho_b` between, both estimated over all values,
    with residuals of more than three standard deviations winsorised. So the weight of a sample grows with its number
    of cells only up to a limit, and many samples of one study weigh little more than one. The difference of a value
    from the rest, by generalised least squares, over its standard error under the null hypothesis follows t with
    Satterthwaite's degrees of freedom :cite:p:`Satterthwaite1946`, with the skewness of counts; no p is less than
    one over the number of ways to assign the value to the samples.

    **No finding rests on one sample.** The test is repeated without the sample that supports the difference most (all
    its rows, if it has cells of several values), and p is the larger of p with all samples and half of p without that
    one: twice the level, because two groups of equal size have half as many arrangements without one sample. Were p
    itself demanded, this would be the test of a partial conjunction, at least two samples, of
    :cite:t:`Benjamini2008`. Where a single sample has the value, or a single one does not, no p is given. The q are
    those of :cite:t:`Benjamini1995` over all queries and values of the call.

    Parameters
    ----------
    adata
        Cells searched by :func:`scim.tl.search`, best with `groupby`: each group is a query. The hits of single cells
        are joined to those of one query, `"all cells"`.
    by
        Column of the atlas with the values that are tested. Cells for which it is missing are left out.
    sample_key
        Column of the atlas with the samples (donors, if it has no samples), unique within a study. A sample that has
        cells of several values counts as one for each of them.
    study_key
        Column of the atlas with the studies of the samples. `None`, or the same as `by`: samples are independent.
    alternative
        `"greater"`: more hits than the other samples; `"less"`; or `"two-sided"`.
    only_similar
        Whether to count only the hits that are like their query, as :func:`scim.tl.search` marks them.
    atlas
        The atlas, open or by its present path. Default: the path at which it was searched.
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
    `adata.uns["scim_enrichment"]["n_cells_empty"]` : int
        Cells of the atlas without counts, which could not be found and are not counted.

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
    ['query', 'value', 'n_samples', 'n_supporting', 'n_hits']
    """
    check_slots(adata, ENRICHMENT, key_added, copy=copy)
    check_choice("alternative", alternative, get_args(Alternative))
    check_text(by=by, sample_key=sample_key)
    check_text_or_none(study_key=study_key)
    check_flags(only_similar=only_similar)
    study_key = None if study_key == by else study_key
    result = search_result(adata, key)
    with opened_again(result.record["atlas"], atlas) as source:
        searched = result.record["atlas"].get("version", source.version)
        if searched != source.version:
            versions = f"The search was made in version {searched} of {source.uri!r}, this is {source.version}"
            remedy = f"Search again, or pass atlas=scim.atlas.open({source.uri!r}, at={searched})."
            warn(f"{versions}: cells that came since could not be found. {remedy}")
        background, n_empty = _background(source, result.record["params"], by, sample_key, study_key)
    queries, hits = _count_hits(result, background, only_similar=only_similar)
    table = _table(queries, hits, background.frame, alternative)
    params: dict[str, Any] = {"by": by, "sample_key": sample_key, "study_key": study_key or ""}
    params |= {"alternative": alternative, "only_similar": only_similar, "key": key}
    results = {"queries": queries.astype(str), "samples": background.frame, "hits": hits, "table": table}

    adata = adata.copy() if copy else adata
    provenance = {"params": params, "atlas": dict(result.record["atlas"]), "n_cells_empty": n_empty}
    write_slots(adata, ENRICHMENT, key_added, provenance | results)
    _log(table, key_added)
    return adata if copy else None


def _background(
    atlas: Atlas, params: dict[str, Any], by: str, sample_key: str, study_key: str | None
) -> tuple[AtlasSamples, int]:
    """Return the samples among the cells that could be found: study, sample, value, n_cells; and how many could not."""
    where = joint_condition([params["where"], primary_condition(atlas) if params["primary_only"] else None])
    passing = atlas.ids if where is None else atlas.select(where)
    ids = with_counts(atlas, passing)
    n_empty = report_left_out(passing.size - ids.size, passing.size)
    samples = atlas_samples(atlas, ids, list(dict.fromkeys(filter(None, (study_key, sample_key, by)))))
    found = samples.frame
    columns = {"study": "" if study_key is None else found[study_key], "sample": found[sample_key], "value": found[by]}
    frame = pd.DataFrame(columns).assign(n_cells=samples.n_cells)
    if frame["value"].nunique() == 1:
        msg = f"All cells that could be found have {by} == {frame['value'][0]!r}; expected two values to compare."
        raise ValueError(msg)
    return samples._replace(frame=frame), n_empty


def _count_hits(
    result: SearchResult, background: AtlasSamples, *, only_similar: bool
) -> tuple[NDArray[np.object_], Ints32]:
    """Return the queries, and the hits among the cells of each sample, (n_queries, n_samples)."""
    grouped = "groups" in result.record
    queries = result.queries if grouped else np.array(["all cells"], dtype=object)
    counted = result.similar if only_similar else result.ids >= 0
    found = [ids[row] for ids, row in zip(result.ids, counted, strict=True)]
    out = np.zeros((len(queries), len(background.frame)), dtype=np.int32)
    for i, ids in enumerate(found if grouped else [np.unique(np.concatenate(found))]):
        position = np.minimum(np.searchsorted(background.ids, ids), background.ids.size - 1)
        codes = background.codes[position[background.ids[position] == ids]]
        out[i] = np.bincount(codes, minlength=out.shape[1])
    return queries, out


def _table(queries: NDArray[np.object_], hits: Ints32, samples: pd.DataFrame, alternative: Alternative) -> pd.DataFrame:
    """Return the tidy frame: for each query its values, the most significant first."""
    n_cells = samples["n_cells"].to_numpy()
    codes, values = pd.factorize(samples["value"], sort=True)
    study = pd.factorize(samples["study"])[0].astype(np.int64)
    sample = np.asarray(samples.groupby(["study", "sample"]).ngroup(), dtype=np.int64)
    result = measure_enrichment(hits, Samples(n_cells, codes, study, sample), alternative=alternative)
    n_queries, n_values = result.p.shape
    with np.errstate(divide="ignore", invalid="ignore"):
        fold = np.log2(result.fraction / result.background).ravel()
    p = result.p.ravel()
    reason = np.where(np.any(hits, axis=1, keepdims=True), _reasons(result.min_p), "no hits").ravel()
    frame = pd.DataFrame(
        {
            "query": np.repeat(queries.astype(str).astype(object), n_values),
            "value": np.tile(np.asarray(values, dtype=object), n_queries),
            "n_samples": np.tile(np.bincount(codes), n_queries),
            "n_supporting": result.n_supporting.ravel(),
            "n_hits": np.stack([np.bincount(codes, row, n_values) for row in hits]).ravel().astype(np.int64),
            "n_cells": np.tile(np.bincount(codes, n_cells).astype(np.int64), n_queries),
            "fraction": result.fraction.ravel(),
            "background": result.background.ravel(),
            "log2_fold_change": fold,
            "p": p,
            "q": _q_values(p),
            "reason": np.where(np.isnan(p), reason, ""),
        }
    )
    order = np.lexsort((-fold, p, np.repeat(np.arange(n_queries), n_values)))
    return frame.iloc[order].reset_index(drop=True)


def _reasons(min_p: Doubles) -> NDArray[np.object_]:
    """Return for each value why no p would be given."""
    few = [
        f"too few samples: p cannot be below {least:.2g}" if least > 0.05 else "all samples are alike"
        for least in min_p
    ]
    one = "one sample has all cells with the value, or all others"
    return np.where(min_p >= 1, np.array(one, dtype=object), np.array(few, dtype=object))


def _log(table: pd.DataFrame, key_added: str) -> None:
    found = table[table["q"] <= 0.05]
    on = f", each supported by {found['n_supporting'].min()} samples or more" if len(found) else ""
    n_tested = int(table["q"].notna().sum())
    logger.info("wrote uns[%r]: %d of %d tested values have q <= .05%s", key_added, len(found), n_tested, on)


def _q_values(p: Doubles) -> Doubles:
    """Return false discovery rates over all p that are not NaN."""
    from scipy.stats import false_discovery_control  # noqa: PLC0415  (scipy.stats takes half a second)

    tested = ~np.isnan(p)
    q = np.full(p.size, np.nan)
    if tested.any():
        q[tested] = false_discovery_control(p[tested])
    return q
