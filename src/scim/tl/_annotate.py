"""Transfer labels from an atlas to embedded cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import check_flags, check_names, check_text, check_where, keys, logger
from scim._core.adata import groups_of
from scim._core.no_label import read_labels
from scim.atlas._open import opened, origin
from scim.label_transfer._decision import NOVEL
from scim.label_transfer._input import check_choices
from scim.label_transfer._neighbour_statistics import MOST_LABELS
from scim.ontology import related
from scim.tl._annotation_slots import annotation_slots
from scim.tl._expression import query_expression
from scim.tl._inputs import primary_condition, query_filter, report_empty, tissues, with_counts
from scim.tl._representation import query_embedding
from scim.tl._slots import ANNOTATE, check_slots, write_slots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scim._core import Duplicates, Weights
    from scim._core.types import Bools, Doubles
    from scim.atlas import Atlas
    from scim.label_transfer import LabelTransfer, Prediction
    from scim.label_transfer._tree import Level
    from scim.tl._inputs import AtlasLike

_ELSEWHERE = 0.1  # weight of a label that the atlas lacks in a tissue: ten times the votes still overrule it
_MANY_NOVEL = 0.1  # share of the cells from which on novel ones are worth a line
_TOP = 3
_N_NAMED = 5  # groups that the line names
_THOROUGH = {"probe_factor": 0.5, "rerank_factor": 16.0}  # misses 1 in 100,000 neighbours (benchmarks/NOTES.md)


def annotate(
    adata: AnnData,
    atlas: AtlasLike = None,
    *,
    label_key: str = keys.ATLAS_LABEL,
    k: int = 50,
    weights: Weights = "balanced",
    allow: Sequence[str] | str | None = None,
    block: Sequence[str] | str | None = None,
    where: str | None = None,
    groupby: str | None = None,
    level: Level = None,
    tissue: Sequence[str] | str | None = None,
    expression: bool = True,
    max_error: float = 0.1,
    max_distance: float = 2.0,
    top: int = _TOP,
    statistics: bool = False,
    duplicates: Duplicates = "collapse",
    use_rep: str = keys.EMBEDDING,
    key_added: str = keys.LABEL,
    copy: bool = False,
) -> AnnData | None:
    r"""Label cells by their nearest labelled cells in an atlas, with the probability that the label is right.

    Two views of a cell are used: its neighbours in the embedding, and its counts, compared with the expression of each
    label over the genes that were measured. The confidence, and the novelty, which is the probability that the type of
    the cell is not in the atlas, are calibrated on the atlas itself: each study is predicted from the others
    (leave-one-study-out), once as they are, once without the type of the cell. Cells with a label that is too likely to
    be wrong get a term of the Cell Ontology above it that is not, or are unknown; see
    :class:`scim.label_transfer.LabelTransfer`. If a tenth of the cells or more are novel, a line of the log names the
    groups they are in.

    Parameters
    ----------
    adata
        Cells embedded by :func:`scim.tl.embed`.
    atlas
        An open atlas, or the path of one. Default: `scim.settings.atlas`, else the atlas that comes with the package.
    label_key
        Column of the atlas with the labels. For another than `"label"` the confidence is calibrated first.
    k
        Number of neighbours.
    weights
        `"balanced"`: neither the number of cells of a type or a study in the atlas decides, nor a few stray cells of a
        type that lies elsewhere. With :math:`n_l` cells of label :math:`l`, the nearest centroid of it in a study at
        distance :math:`c_l`, and neighbours at cosine distances :math:`d_j` from studies :math:`s`, its votes are
        :math:`c_l^{-1/2} \sum_s (\sum_{j \in l, s} n_l^{-1/2} / \max(d_j, 10^{-6}))^{0.65}`.
        `"distance"`: the weight of a neighbour is :math:`1 / \max(d_j, 10^{-6})`, as in :cite:t:`Heimberg2025`;
        `"uniform"`: 1.
    allow, block
        Labels of cells that are eligible as neighbours, and labels of cells that are not: names as in the atlas, or
        names or ids of the Cell Ontology, which stand for all labels below them. Default: all.
    where
        Only cells of the atlas that pass this filter are eligible; see :meth:`scim.atlas.Atlas.select`.
    groupby
        Column of obs: each of its groups gets a label too, the most specific one that most of its cells are expected
        to be of.
    level
        Terms that may be predicted. `None`: labels of the atlas and terms of the Cell Ontology that join some of them.
        `"label"`: labels of the atlas only. A number: terms so many steps below the root of the ontology
        (:func:`scim.ontology.depth`), and labels less deep. Names or ids of terms: these only.
    tissue
        Tissue of the cells, one or several values of the column `tissue` of the atlas. Labels of which the atlas has
        no cell there, nor of a label above or below, weigh a tenth. No cell of the atlas is left out, as it is with
        `where="tissue == 'liver'"`.
    expression
        Whether to use the expression of the genes beside the embedding. The counts are found again as
        :func:`scim.tl.embed` found them; without them, or if the atlas has no expression statistics, labels are
        predicted by the embedding alone, and a line of the log states it.
    max_error
        Share of the labels that may be wrong, 0 to 1, in a study with one cell in ten of a type that the atlas lacks:
        cells with less sure labels are unknown. 1: every cell gets a label that `level` and `max_distance` allow. Where
        the atlas does not allow to keep it (one study, no type in several studies, few cells, or many labels that
        differ between studies) a warning states why, and what to do.
    max_distance
        Cells whose nearest neighbour is farther than this (cosine distance, 0 to 2) are unknown too.
    top
        Number of labels, with their shares of the vote, to keep for each cell: at most those of the atlas. Labels
        without a neighbour have no vote, unless the expression of the genes gives them one. If `top` is above three and
        cells have fewer labels, a line of the log states how many cells; a larger `k` reaches more labels.
    statistics
        Whether to write what SCimilarity returns of each cell: the neighbours of each label, their distances, and how
        far the best label is ahead. They are of the `k` neighbours as they are, before `weights`, the expression and
        `tissue`, so that the label of most neighbours need not be the one that is written. The search is then as good
        as exact, in some more time.
    duplicates
        `"collapse"`: a cell that is in the atlas several times counts once, see :func:`scim.tl.search`.
        `"keep"`: every copy counts.
    use_rep
        Name in `obsm` of an embedding by the model of the atlas; `uns["scim"][use_rep]["model"]` states the model. Rows
        may be of any length. Without a record, some cells with counts are embedded again and compared.
    key_added
        Base of the names that are written. What this function did not write is not replaced.
    copy
        Whether to return a new AnnData and leave this one alone.

    Returns
    -------
    `None`, or with `copy=True` the new AnnData. Writes, with `key_added="scim_label"`:

    `adata.obs["scim_label"]` : categorical
        The label; missing = unknown.
    `adata.obs["scim_label_id"]` : categorical
        Its Cell Ontology id, where it has one.
    `adata.obs["scim_label_confidence"]` : float32
        Probability that the label is right, 0 to 1: that the type which an annotator of another study would give the
        cell is the label, or above or below it; calibrated for the balanced vote of 50 neighbours among all cells.
        Of an unknown cell, that of the most specific term that `level` allows; 0 beyond `max_distance`.
    `adata.obs["scim_label_novelty"]` : float32
        Probability that the type of the cell is not in the atlas, 0 to 1, calibrated. Cells of .5 and more are called
        novel; :func:`scim.tl.novel` finds their clusters and genes. NaN for a cell without counts, which is unknown.
    `adata.obs["scim_label_distance"]` : float32
        Cosine distance to the nearest neighbour, 0 to 2; inf for a cell without counts.
    `adata.obs["scim_label_studies"]` : int32
        Number of studies of the neighbours that have the label with most votes.
    `adata.obsm["scim_label_codes"]`, `adata.obsm["scim_label_shares"]` : int32, float32, shape (n_obs, top)
        The labels with most votes as positions in `uns["scim_label"]["labels"]` (-1 = no further label), and their
        shares of the vote; :func:`scim.get.votes` makes a table of them.
    `adata.uns["scim_label"]` : dict
        Parameters, labels, atlas, and `n_cells_empty`, the number of cells without counts in the model's genes.

    With `groupby` also `adata.obs["scim_label_group"]`, the label of the group of the cell, and
    `adata.obs["scim_label_group_confidence"]`, and in `adata.uns["scim_label"]["groups"]` a frame with a row for each
    group: `group`, `n_cells`, `label`, `label_id`, `confidence` (the share of its cells that is expected to be of the
    label, 0 to 1), `share` (of its cells that have the label or one below it), `runner_up` and `runner_up_share` (the
    label most frequent among its other cells that is neither above nor below), `unknown` (share of unknown cells),
    `mixed` (whether the runner-up has a quarter of the cells or more), `novelty` (mean) and `novel` (share of novel
    cells).

    With `statistics=True` also, missing for a cell without counts:

    `adata.obs["scim_label_farthest"]`, `["scim_label_mean_distance"]` : float32
        Cosine distance to the farthest of the `k` neighbours, and the mean over them; 0 to 2.
    `adata.obs["scim_label_vs2nd"]`, `["scim_label_vsAll"]` : float32
        With :math:`h_1 \ge h_2 \ge \dots` neighbours of each label, :math:`h_1 / (h_1 + h_2)`, .5 to 1, and
        :math:`h_1 / \sum_i h_i`, 0 to 1, as in the package of :cite:t:`Heimberg2025`.
    `adata.obs["scim_label_vs2nd_weighted"]`, `["scim_label_vsAll_weighted"]` : float32
        The same of the neighbours weighted by :math:`1 / \max(d, 10^{-6})`.
    `adata.obsm["scim_label_hits"]`, `["scim_label_hits_weighted"]` : sparse int32, float64, shape (n_obs, n_labels)
        Number and summed weights of the neighbours of each label, in the order of `uns["scim_label"]["labels"]`; of a
        cell with neighbours of more than 50 labels those of the 50 most frequent.

    :func:`scim.get.annotation` makes a table of them.

    Raises
    ------
    KeyError
        There is no embedding (run `scim.tl.embed` first), or a column does not exist.
    ValueError
        Another model made the embedding, no cell of the atlas is eligible, or a label, term or tissue is unknown.
    FilterError
        `where` cannot be read, or names an unknown column or value.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata)
    >>> adata.obs["scim_label"].dtype.name
    'category'
    """
    check_slots(adata, ANNOTATE, key_added, copy=copy, groupby=groupby, statistics=statistics)
    check_text(label_key=label_key)
    check_where(where)
    check_flags(expression=expression)
    allow, block, tissue = (
        None if names is None else check_names(name, names)
        for name, names in (("allow", allow), ("block", block), ("tissue", tissue))
    )
    k, top = check_choices(k, top, weights, duplicates, max_error, max_distance)
    groups = None if groupby is None else groups_of(adata, groupby)
    with opened(atlas) as source:
        X, record = query_embedding(adata, source, use_rep)
        transfer = source.label_transfer(label_key)
        chosen = transfer.reference.tree.choose(allow, block)
        primary = primary_condition(source) if duplicates == "collapse" else None
        eligible = None
        if where is not None:
            eligible = np.zeros(len(transfer.reference.codes), dtype=np.bool_)
            eligible[source.select(where)] = True
        query = query_expression(adata, transfer, use_rep, record) if expression else None
        prediction = transfer.predict(
            X,
            k=k,
            weights=weights,
            allow=allow,
            block=block,
            level=level,
            max_error=max_error,
            max_distance=max_distance,
            top=top,
            groups=groups,
            eligible=eligible,
            duplicates=duplicates,
            counts=query,
            genes=None if query is None else query.names,
            prior=None if tissue is None else _tissue_prior(source, transfer, tissue),
            statistics=statistics,
            search=_search_arguments(source, transfer, label_key, chosen, where, primary, exact=statistics),
        )
        provenance = origin(source)
        if query is not None and not prediction.uses_expression:
            logger.info("the expression of the genes is not used: too few genes, or the atlas has a single study of it")
        if len(X) and (prediction.novelty >= NOVEL).mean() >= _MANY_NOVEL:
            logger.warning("%s", _novel_line(prediction, groupby, _covered(source, transfer, chosen, eligible)))

    adata = adata.copy() if copy else adata
    params: dict[str, Any] = {"use_rep": use_rep, "label_key": label_key, "k": k, "weights": weights, "top": top}
    params |= {"allow": _as_text(allow), "block": _as_text(block), "where": where or "", "level": _as_text(level)}
    params |= {"max_error": float(max_error), "threshold": prediction.threshold, "max_distance": float(max_distance)}
    params |= {"duplicates": duplicates, "groupby": groupby or "", "tissue": _as_text(tissue)}
    params |= {"expression": prediction.uses_expression, "novel": NOVEL, "statistics": statistics}
    obs, obsm, results = annotation_slots(prediction, groups)
    _report_few_labels(prediction, top)
    results |= {"params": params, "atlas": provenance, "n_cells_empty": report_empty(X)}
    write_slots(adata, ANNOTATE, key_added, results, obs=obs, obsm=obsm)
    n_labelled = int((prediction.terms >= 0).sum())
    logger.info("wrote obs[%r]: %d of %d cells are labelled", key_added, n_labelled, adata.n_obs)
    return adata if copy else None


def _search_arguments(
    atlas: Atlas, transfer: LabelTransfer, label_key: str, chosen: Bools | None, *conditions: str | None, exact: bool
) -> dict[str, Any]:
    """Return arguments of the index query: a filter that passes the eligible cells, where it can be written."""
    search: dict[str, Any] = {}
    if atlas.index.kind == "ivf":
        search |= _THOROUGH if exact else {"recall": 0.9}  # a few neighbours of fifty do not change the label
    if chosen is not None:
        if not atlas.indexes([label_key]):
            return search
        # The texts of the labels as they are stored: with the blanks and quotes that are left out of the names.
        stored = atlas.index.obs(atlas.ids[:1], [label_key])[label_key].cat.categories
        texts = stored[np.isin(read_labels(stored).texts.astype(str), transfer.labels[chosen].astype(str))].tolist()
        # A filter cannot quote some names, and reads "a || b" as each of the parts.
        if any(sign in name for sign in ("`", " || ") for name in (label_key, *stored)):
            return search
        conditions = (*conditions, f"`{label_key}` in {texts!r}")
    elif not (transfer.reference.codes[with_counts(atlas, atlas.ids)] >= 0).all():
        return search
    return search | query_filter(atlas, *conditions)


def _tissue_prior(atlas: Atlas, transfer: LabelTransfer, tissue: Sequence[str] | str) -> Doubles:
    """Return the weight of each label: 1 if it, or one above or below it, is in the tissues, else a tenth."""
    names, of_cell = check_names("tissue", tissue), tissues(atlas)
    present = of_cell.cat.categories.tolist()
    if absent := [name for name in names if name not in present]:
        msg = f"tissue={absent} are no tissues of the atlas. Present: {present}."
        raise ValueError(msg)
    codes = transfer.reference.codes[of_cell.index[of_cell.isin(names)]]
    there = np.unique(codes[codes >= 0])
    return np.where(related(transfer.labels.tolist())[:, there].any(axis=1), 1.0, _ELSEWHERE)


def _covered(atlas: Atlas, transfer: LabelTransfer, chosen: Bools | None, eligible: Bools | None) -> list[str]:
    """Return the tissues of the reference cells that take part."""
    labelled = transfer.reference.eligible(labels=chosen)
    if eligible is not None:
        labelled &= eligible
    return [str(name) for name in tissues(atlas, np.flatnonzero(labelled)).cat.categories]


def _novel_line(prediction: Prediction, groupby: str | None, covered: list[str]) -> str:
    """Return what to say of a query with many novel cells: their share, the groups they are in, what the atlas has."""
    line = f"{(prediction.novelty >= NOVEL).mean():.0%} of the cells are unlike every reference cell"
    if prediction.groups is None:
        line += "; scim.tl.novel(adata) finds their clusters and genes"
    else:
        frame = prediction.groups.assign(n_novel=prediction.groups["novel"] * prediction.groups["n_cells"])
        frame = frame[frame["novel"] > 0.5].sort_values("n_novel", ascending=False, kind="stable")
        names = frame["group"].tolist()
        if names:
            more = f" and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
            line += f", mostly in groups {', '.join(names[:_N_NAMED])}{more} of obs[{groupby!r}]"
    return f"{line}. The atlas covers: {', '.join(covered)}." if covered else f"{line}."


def _report_few_labels(prediction: Prediction, top: int) -> None:
    """Log the number of cells with votes for fewer than `top` labels, and of those with hits that were left out."""
    found = prediction.top_codes >= 0
    n_labels = found.sum(axis=1)
    few = (n_labels > 0) & (n_labels < top)
    if top > _TOP and few.any():
        has = f"fewer than top={top} labels have votes, {np.median(n_labels[few]):.0f} in the median"
        more = f"the atlas has {prediction.tree.n_labels}; a larger k reaches more of them"
        logger.info("of %d of %d cells %s: %s", int(few.sum()), len(few), has, more)
    if prediction.statistics is not None:
        n_full = int((np.diff(prediction.statistics.hits.indptr) >= MOST_LABELS).sum())
        if n_full:
            logger.info("%d cells: hits of at most the %d most frequent labels are kept", n_full, MOST_LABELS)


def _as_text(choice: Level) -> str:
    """Return an argument as `uns` can keep it."""
    if choice is None:
        return ""
    return str(choice) if isinstance(choice, str | int | np.integer) else ", ".join(map(str, choice))
