"""Score how similar every cell, or every sample, of an atlas is to groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from scim._core import (
    Centroid,
    check_adata,
    check_choice,
    check_count,
    check_range,
    check_text_or_none,
    check_where,
    keys,
    progress,
    refuse_absent,
)
from scim._core.adata import groups_of
from scim._core.cosine import cosine_distances, is_directed
from scim.atlas._open import opened
from scim.tl._group_queries import contrast, default_centroid, group_queries
from scim.tl._inputs import atlas_samples, check_counts_arguments, report_empty, report_left_out, with_counts
from scim.tl._representation import query_embedding

if TYPE_CHECKING:
    from anndata import AnnData

    from scim._core.types import Floats, Ints, Transform
    from scim.atlas import Atlas
    from scim.pp._species import Species
    from scim.tl._inputs import AtlasLike, AtlasSamples


def score_similarity(
    adata: AnnData,
    groupby: str,
    atlas: AtlasLike = None,
    *,
    sample_key: str | None = None,
    study_key: str | None = keys.ATLAS_STUDY,
    system_key: str | None = None,
    where: str | None = None,
    max_distance: float | None = None,
    quantile: float = 0.1,
    centroid: Centroid | None = None,
    layer: str | None = None,
    transform: Transform | None = None,
    gene_key: str | None = None,
    species: Species | None = None,
    use_rep: str = keys.EMBEDDING,
    max_memory: int = 200_000_000,
) -> pd.DataFrame:
    r"""Measure how far every cell, or every sample, of an atlas is from each group of cells.

    :func:`scim.tl.search` finds the nearest cells, this function measures all. The result has a row for each cell or
    sample of the atlas, not of `adata`, so it is returned, and `adata` stays as it is.

    Parameters
    ----------
    adata
        Cells embedded by :func:`scim.tl.embed`.
    groupby
        Column of obs; each of its groups is a state.
    atlas
        An open atlas, or the path of one. Default: `scim.settings.atlas`, else the atlas that comes with the package.
    sample_key
        Column of the atlas with the samples: return a row for each sample and state. Cells for which it is missing are
        left out. Default: a row for each cell.
    study_key
        Column of the atlas with the studies, within which names of samples are unique; `None`: they are unique.
    system_key
        Column of the atlas that divides samples further, as the cultures of a donor from the donor's tissue.
    where
        Only cells of the atlas that pass this filter, as `"tissue == 'blood'"`.
    max_distance
        Cosine distance (0 to 2) up to which a cell of a sample counts as one of the state.
        Default: the label radius of the atlas; `centroid="contrast"` has none, its distances are larger.
    quantile
        Quantile of the distances of a sample's cells, 0 to 1. Default: the distance of its nearest tenth.
    centroid, layer, transform, gene_key, species, use_rep
        The query of a group, as in :func:`scim.tl.search`.
    max_memory
        About how many bytes to use for embeddings; the atlas is never read whole. The frame of cells takes 4 bytes a
        cell and state besides. With samples, the embeddings are read once for as many states as fit.

    Returns
    -------
    Without `sample_key`: frame indexed by `soma_joinid`, ascending, with a float32 column for each group, by its name:
    cosine distance, :math:`1 - x \cdot c`, 0 to 2; inf for a group without counts in the model's genes. Cells of the
    atlas without counts are left out, also of the samples.

    With `sample_key`: frame with a row for each state and sample:

    `query` : str
        Name of the group.
    `study`, `sample` : str
        `study` is empty without `study_key`.
    `system` : str
        With `system_key` only.
    `n_cells` : int64
    `mean`, `quantile` : float32
        Of the cosine distances of its cells.
    `share` : float64
        Share of its cells within `max_distance`, 0 to 1.

    Raises
    ------
    KeyError
        There is no embedding (run `scim.tl.embed` first), no column `groupby`, or no such column of the atlas.
    ValueError
        Another model made the embedding, no cell of the atlas passes `where`, or samples are scored with
        `centroid="contrast"` and no `max_distance`.
    FilterError
        `where` cannot be read, or names an unknown column or value.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> distances = scim.tl.score_similarity(adata, "cell_type", where="tissue == 'blood'")
    >>> distances.columns.tolist()
    ['B cell', 'T cell', 'classical monocyte']
    >>> scim.tl.score_similarity(adata, "cell_type", sample_key="donor").columns.tolist()
    ['query', 'study', 'sample', 'n_cells', 'mean', 'quantile', 'share']
    """
    check_adata(adata)
    groups = groups_of(adata, groupby)
    max_memory = check_count("max_memory", max_memory)
    check_text_or_none(sample_key=sample_key, study_key=study_key, system_key=system_key)
    check_where(where)
    check_counts_arguments(layer, transform, gene_key, species)
    check_range("quantile", quantile, 1.0)
    if max_distance is not None:
        check_range("max_distance", max_distance, 2.0)
    if system_key is not None and sample_key is None:
        msg = f"system_key={system_key!r} divides samples; pass sample_key too, as sample_key='donor'."
        raise ValueError(msg)
    if centroid is not None:
        check_choice("centroid", centroid, get_args(Centroid))
    if centroid == "contrast" and sample_key is not None and max_distance is None:
        msg = "centroid='contrast' has no label radius: pass max_distance, or centroid='counts'."
        raise ValueError(msg)
    sample_keys = [] if sample_key is None else [study_key, sample_key, system_key]
    columns = list(dict.fromkeys(key for key in sample_keys if key is not None))
    with opened(atlas) as source:
        X, record = query_embedding(adata, source, use_rep)
        centroid = default_centroid(centroid, record)
        refuse_absent(columns, source.columns, of="The atlas")
        passing = source.ids if where is None else source.select(where)
        ids = with_counts(source, passing)
        if not ids.size:
            msg = "No cell of the atlas " + ("" if where is None else f"passes where={where!r} and ") + "has counts."
            raise ValueError(msg)
        report_left_out(passing.size - ids.size, passing.size)
        report_empty(X)
        count_arguments: dict[str, Any] = {"layer": layer, "transform": transform, "gene_key": gene_key}
        states = group_queries(adata, X, groups, source, centroid, record=record, species=species, **count_arguments)
        states = contrast(states) if centroid == "contrast" else states
        if sample_key is None:
            distances = _distances(source, ids, states, max_memory)
            return pd.DataFrame(distances, index=pd.Index(ids, name="soma_joinid"), columns=groups.names.tolist())
        if max_distance is None:
            max_distance = 2.0 if source.label_radius is None else source.label_radius
        samples = atlas_samples(source, ids, columns)
        step = max(1, max_memory // (4 * samples.ids.size))
        frames = []
        for start in range(0, len(states), step):
            distances = _distances(source, samples.ids, states[start : start + step], max_memory)
            frames.append(_by_sample(distances, samples, quantile, max_distance))
    found = pd.concat([samples.frame] * len(states), ignore_index=True)
    columns_of_samples = {"study": "" if study_key is None else found[study_key], "sample": found[sample_key]}
    columns_of_samples |= {} if system_key is None else {"system": found[system_key]}
    frame = pd.DataFrame({"query": np.repeat(groups.names, len(samples.frame)), **columns_of_samples})
    frame["n_cells"] = np.tile(samples.n_cells, len(states))
    return pd.concat([frame, pd.concat(frames, ignore_index=True)], axis=1)


def _distances(atlas: Atlas, ids: Ints, states: Floats, max_memory: int) -> Floats:
    """Return cosine distances, (n_ids, n_states), reading a range of ids at a time; `inf` to a state without counts."""
    # Cells between those wanted are read too: a range of ids bounds memory. Reading takes five times the rows.
    span = max(1, max_memory // (4 * (5 * atlas.dim + 2 * len(states))))
    out = np.empty((ids.size, len(states)), dtype=np.float32)
    with progress(total=ids.size, desc="similarity", unit="cells") as bar:
        for low in range(int(ids[0]), int(ids[-1]) + 1, span):
            start, stop = np.searchsorted(ids, [low, low + span])
            if stop > start:
                out[start:stop] = cosine_distances(atlas.embeddings(ids[start:stop]) @ states.T)
                bar.update(stop - start)
    out[:, ~is_directed(states)] = np.inf
    return out


def _by_sample(distances: Floats, samples: AtlasSamples, quantile: float, limit: float) -> pd.DataFrame:
    """Return mean, quantile and share within the limit, with a row for each state and sample."""
    order = np.argsort(samples.codes, kind="stable")
    n_cells = samples.n_cells
    starts = np.cumsum(n_cells) - n_cells
    frames = []
    for column in distances.T:
        by_sample = column[order]
        parts = np.split(by_sample, starts[1:])
        # Those of a state without counts are infinite throughout: there is nothing to interpolate.
        quantiles = [np.quantile(part, quantile) if np.isfinite(part[0]) else part[0] for part in parts]
        columns = {
            "mean": (np.add.reduceat(by_sample, starts, dtype=np.float64) / n_cells).astype(np.float32),
            "quantile": np.array(quantiles, dtype=np.float32),
            "share": np.add.reduceat(by_sample <= np.float32(limit), starts, dtype=np.int64) / n_cells,
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)
