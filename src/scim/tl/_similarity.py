"""How far every cell, or every sample, of an atlas is from a state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from scim._core import keys
from scim._core.checks import (
    check_adata,
    check_choice,
    check_count,
    check_names,
    check_obs_key,
    check_range,
    refuse_absent,
)
from scim._core.groups import groups_of
from scim._core.log import progress
from scim._core.types import Centroid
from scim.atlas import opened
from scim.tl._centroids import centroids, default_centroid
from scim.tl._context import fitting_rep
from scim.tl._samples import samples_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scim.atlas import Atlas
    from scim.pp import Species
    from scim.tl._context import AtlasLike
    from scim.tl._samples import AtlasSamples


def score_similarity(
    adata: AnnData,
    groupby: str,
    atlas: AtlasLike = None,
    *,
    sample_key: str | None = None,
    study_key: str | None = keys.ATLAS_STUDY,
    where: str | None = None,
    max_distance: float | None = None,
    quantile: float = 0.1,
    centroid: Centroid | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    species: Species | None = None,
    use_rep: str = keys.EMBEDDING,
    max_memory: int = 200_000_000,
) -> pd.DataFrame:
    r"""Measure how far every cell of an atlas, or every sample, is from each group of cells.

    Where :func:`scim.tl.search` finds the nearest cells, this measures all: to see in which samples a state is common,
    or to compare it with any other score of the cells. The result has a row for each cell or sample of the atlas, not
    of `adata`, so it is returned, and `adata` stays as it is.

    Parameters
    ----------
    adata
        Cells embedded by :func:`scim.tl.embed`.
    groupby
        Column of obs; each of its groups is a state.
    atlas
        An open atlas, or the path of one.
        Default: `scim.settings.atlas`, else the atlas that comes with the package.
    sample_key
        Column of the atlas that tells samples apart, within a study: return a row for each sample and state.
        Cells for which it is missing are left out. Default: a row for each cell.
    study_key
        Column of the atlas within which names of samples are unique; `None`: they are unique.
    where
        Only cells of the atlas that pass this filter, as `"tissue == 'blood'"`.
    max_distance
        Cosine distance (0 to 2) up to which a cell of a sample counts as one of the state.
        Default: the `reach` of the atlas.
    quantile
        Quantile of the distances of a sample's cells, 0 to 1: how far its nearest tenth reaches.
    centroid, layer, gene_key, species, use_rep
        What stands for a group, as for :func:`scim.tl.search`.
    max_memory
        About how many bytes to read embeddings with; the atlas is never read whole. Beside them there are the frame of
        cells, 4 bytes a cell and state, or for samples the distances of as many states as fit into `max_memory`, at
        least one (the embeddings are read once for each lot), and 16 bytes a cell.

    Returns
    -------
    Without `sample_key`: frame indexed by `soma_joinid`, ascending, with a float32 column for each group, by its name:
    cosine distance, :math:`1 - x \cdot c`, 0 to 2.

    With `sample_key`: frame with a row for each state and sample:

    `query` : str
        Name of the group.
    `study`, `sample` : str
        `study` is empty without `study_key`.
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
        Another model made the embedding, or no cell of the atlas passes `where`.
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
    check_obs_key(adata, groupby)
    check_count("max_memory", max_memory)
    check_range("quantile", quantile, 1.0)
    if max_distance is not None:
        check_range("max_distance", max_distance, 2.0)
    centroid = default_centroid(adata, centroid, use_rep)
    check_choice("centroid", centroid, get_args(Centroid))
    names = [] if sample_key is None else check_names("columns", [n for n in (study_key, sample_key) if n is not None])
    with opened(atlas) as source:
        X, groups = fitting_rep(adata, source, use_rep), groups_of(adata, groupby)
        refuse_absent(names, source.columns, of="The atlas")
        ids = source.ids if where is None else source.select(where)
        if not ids.size:
            msg = f"No cell of the atlas passes where={where!r}."
            raise ValueError(msg)
        counted: dict[str, Any] = {"layer": layer, "gene_key": gene_key, "species": species}
        states = centroids(adata, X, groups, source, centroid, use_rep=use_rep, **counted)
        if sample_key is None:
            distances = _distances(source, ids, states, max_memory)
            return pd.DataFrame(distances, index=pd.Index(ids, name="soma_joinid"), columns=groups.names.tolist())
        limit = max_distance if max_distance is not None else 2.0 if source.reach is None else source.reach
        samples = samples_of(source, ids, names)
        at_once = max(1, max_memory // (4 * samples.ids.size))
        lots = []
        for start in range(0, len(states), at_once):
            distances = _distances(source, samples.ids, states[start : start + at_once], max_memory)
            lots.append(_by_sample(distances, samples, quantile, limit))
    return _frame(
        groups.names, samples.frame, sample_key, study_key, [np.concatenate(part) for part in zip(*lots, strict=True)]
    )


def _distances(
    atlas: Atlas, ids: NDArray[np.int64], states: NDArray[np.float32], max_memory: int
) -> NDArray[np.float32]:
    """Return cosine distances, (n_ids, n_states), reading a range of ids at a time."""
    # Rows lie in the store by id, and cells between those wanted are read too: a range is what bounds memory. Reading
    # takes five times the rows (measured): TileDB's buffers, its block, ours.
    span = max(1, max_memory // (4 * (5 * atlas.dim + 2 * len(states))))
    out = np.empty((ids.size, len(states)), dtype=np.float32)
    with progress(total=ids.size, desc="similarity", unit="cells") as bar:
        for low in range(int(ids[0]), int(ids[-1]) + 1, span):
            start, stop = np.searchsorted(ids, [low, low + span])
            if stop > start:
                out[start:stop] = np.clip(1 - atlas.embeddings(ids[start:stop]) @ states.T, 0, 2)
                bar.update(stop - start)
    return out


def _by_sample(
    distances: NDArray[np.float32], samples: AtlasSamples, quantile: float, limit: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mean, quantile and share within the limit, each (n_states, n_samples)."""
    order = np.argsort(samples.sample, kind="stable")
    starts = np.cumsum(samples.frame["n_cells"].to_numpy()) - samples.frame["n_cells"].to_numpy()
    n_cells = samples.frame["n_cells"].to_numpy()
    mean, near, share = (np.empty((distances.shape[1], n_cells.size)) for _ in range(3))
    for state, of_cells in enumerate(distances.T):
        column = of_cells[order]
        mean[state] = np.add.reduceat(column, starts, dtype=np.float64) / n_cells
        share[state] = np.add.reduceat(column <= limit, starts, dtype=np.int64) / n_cells
        near[state] = [np.quantile(part, quantile) for part in np.split(column, starts[1:])]
    return mean, near, share


def _frame(
    names: NDArray[np.object_],
    samples: pd.DataFrame,
    sample_key: str,
    study_key: str | None,
    measured: list[NDArray[np.float64]],
) -> pd.DataFrame:
    mean, near, share = (part.ravel() for part in measured)
    whole = pd.concat([samples] * len(names), ignore_index=True)
    return pd.DataFrame(
        {
            "query": np.repeat(names, len(samples)),
            "study": "" if study_key is None else whole[study_key],
            "sample": whole[sample_key],
            "n_cells": whole["n_cells"],
            "mean": mean.astype(np.float32),
            "quantile": near.astype(np.float32),
            "share": share,
        }
    )
