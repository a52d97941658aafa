"""Explain by which genes the model separates groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import (
    check_count,
    check_names,
    check_rng,
    check_text,
    keys,
    logger,
    progress,
    seed_of,
    warn,
)
from scim._core.adata import Groups, embedding_record, groups_of
from scim.ontology import related
from scim.pp import lognorm_rows
from scim.tl._inputs import check_counts_arguments, model_of, query_counts
from scim.tl._slots import EXPLAIN, check_slots, write_slots

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData

    from scim._core.types import Bools, Ints, Transform
    from scim.model import Model
    from scim.model.explain import Attribution, Pairs
    from scim.pp import Counts, GeneMap
    from scim.pp._species import Species
    from scim.tl._inputs import AtlasLike

_MOST_PAIRS, _MOST_STEPS = 1_000_000, 1000  # more take memory, and change no digit of the result
_REST = "rest"  # the reference of a group: all other types of cells


def explain(
    adata: AnnData,
    atlas: AtlasLike = None,
    *,
    groupby: str = keys.LABEL,
    groups: Sequence[str] | str | None = None,
    reference: str = _REST,
    model: Model | str | os.PathLike[str] | None = None,
    n_pairs: int = 200,
    n_steps: int = 20,
    layer: str | None = None,
    transform: Transform | None = None,
    gene_key: str | None = None,
    species: Species | None = None,
    rng: int | np.random.Generator | None = 0,
    key_added: str = keys.EXPLAIN,
    copy: bool = False,
) -> AnnData | None:
    r"""Attribute the separation of groups of cells to genes, by the model: why this label.

    Cells of each group (anchors :math:`x`) are paired with cells of other types (negatives :math:`x'`). The squared
    distance of their embeddings :math:`f` is attributed to the genes by integrated gradients
    :cite:p:`Sundararajan2017` along the straight path from the negative to the anchor, and kept, as an absolute value,
    where the anchor has more of the gene :cite:p:`Heimberg2025`:

    .. math::

        a_g = \Big\lvert (x_g - x'_g) \int_0^1 \frac{\partial}{\partial x_g}
        \lVert f(x') - f(x' + t (x - x')) \rVert^2 \, dt \Big\rvert \quad \text{if } x_g > x'_g, \text{ else } 0.

    A gene with a high mean is expressed by the group and moves it away from others in the model. The integrals are
    those of captum :cite:p:`Kokhlikyan2020`.

    Parameters
    ----------
    adata
        Cells with counts, in groups; a backed AnnData is streamed.
    atlas
        The atlas of the model, as in :func:`scim.tl.embed`.
    groupby
        Column of obs with the groups; cells without a value are left out.
    groups
        Names of the groups to explain. Default: all.
    reference
        What the groups are compared with: a group, or `"rest"`, all other types with equal weight, but for ancestors
        and descendants in the Cell Ontology.
    model
        A model to use instead, or the folder of one.
    n_pairs
        Number of pairs for each group, at least 2. Cells of small groups are in several.
    n_steps
        Number of points on the path of each pair at which gradients are taken (Gauss-Legendre).
    layer, transform, gene_key, species
        Counts and gene names, as in :func:`scim.tl.embed`. Default: what that was given. The result has human genes.
    rng
        Seed or generator that draws the pairs.
    key_added
        Name of the result in `uns`.
    copy
        Whether to return a new AnnData and leave this one alone.

    Returns
    -------
    `None`, or with `copy=True` the new AnnData. Writes `adata.uns[key_added]`, a dict with:

    `"mean"`, `"std"`, `"ci"` : float32, shape (n_groups, n_genes)
        Mean of the attribution over the pairs (at least 0), its standard deviation, and half the width of the 95 %
        interval of the mean (Student's t). NaN for genes of the model that the data did not measure.
    `"groups"`, `"genes"`, `"symbols"` : arrays of str
        Names of the groups; ids and symbols of the model's genes.
    `"n_pairs"` : int64, shape (n_groups,)
        Number of pairs of each group.
    `"params"`, `"model"`
        Parameters, and the uid of the model.

    :func:`scim.get.attribution` returns a table of it, :func:`scim.pl.attribution` draws it.

    Raises
    ------
    KeyError
        There is no column `groupby` (run `scim.tl.annotate` first), or no such group.
    ValueError
        There is nothing to compare a group with, or `species` is missing where it was a mapping when the cells were
        embedded.
    CountsError, GeneOverlapError
        As in :func:`scim.tl.embed`.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.explain(adata, groupby="cell_type", n_pairs=20)
    >>> scim.get.attribution(adata, "T cell", top=1)["gene"].tolist()
    ['CD3D']
    """
    check_slots(adata, EXPLAIN, key_added, copy=copy)
    n_pairs = check_count("n_pairs", n_pairs, least=2, most=_MOST_PAIRS)
    n_steps = check_count("n_steps", n_steps, most=_MOST_STEPS)
    check_text(groupby=groupby, reference=reference)
    check_counts_arguments(layer, transform, gene_key, species)
    generator = check_rng(rng)
    if groupby not in adata.obs:
        remedy = "run scim.tl.annotate(adata) first, or name another column with groupby="
        msg = f"obs[{groupby!r}] not found; {remedy}. Present: {list(adata.obs.columns)}."
        raise KeyError(msg)
    cell_groups = groups_of(adata, groupby)
    chosen = _chosen_groups(cell_groups, groups, reference, groupby)
    encoder = model_of(atlas, model)
    record = embedding_record(adata, keys.EMBEDDING)
    if record.get("model") not in (None, encoder.uid):
        models = f"obsm[{keys.EMBEDDING!r}] was made by model {record['model']}, but {encoder.uid} is explained"
        warn(f"{models}: labels may have other reasons. Pass the atlas= or model= that embedded the cells.")
    places: dict[str, Any] = {"layer": layer, "transform": transform, "gene_key": gene_key}
    counts, genes = query_counts(adata, encoder, record, **places, species=species)
    pairs = _pairs_of_groups(cell_groups, chosen, reference, n_pairs, generator)
    averages, n_used = _averages(encoder, counts, genes, pairs, n_steps)

    adata = adata.copy() if copy else adata
    params = {"groupby": groupby, "reference": reference, "n_pairs": n_pairs, "n_steps": n_steps, "layer": layer or ""}
    params |= {"transform": transform or "", "gene_key": gene_key or "", "species": genes.species, "rng": seed_of(rng)}
    results = {
        "params": params,
        "model": encoder.uid,
        "groups": cell_groups.names[chosen].astype(str),
        "genes": encoder.genes.astype(str),
        "symbols": encoder.symbols.astype(str),
        "n_pairs": np.array(n_used, dtype=np.int64),
    } | {name: np.stack([getattr(average, name) for average in averages]) for name in ("mean", "std", "ci")}
    write_slots(adata, EXPLAIN, key_added, results)
    logger.info("wrote uns[%r]: %d groups, %d pairs, %d genes", key_added, len(n_used), sum(n_used), genes.n_matched)
    return adata if copy else None


def _chosen_groups(cell_groups: Groups, groups: Sequence[str] | str | None, reference: str, groupby: str) -> Ints:
    """Return the codes of the groups to explain."""
    names = cell_groups.names.tolist()
    if groups is not None:
        wanted = check_names("groups", groups)
    else:
        wanted = _comparable(names) if reference == _REST else [name for name in names if name != reference]
    if reference not in (_REST, *names):
        msg = f"reference={reference!r} is neither 'rest' nor a value of obs[{groupby!r}]. Present: {names}."
        raise KeyError(msg)
    if absent := [name for name in wanted if name not in names]:
        msg = f"groups {absent} are no values of obs[{groupby!r}]. Present: {names}."
        raise KeyError(msg)
    if not wanted or (reference in wanted and reference != _REST):
        msg = f"Expected groups of obs[{groupby!r}] other than reference={reference!r}, got {wanted} of {names}."
        raise ValueError(msg)
    return np.array([names.index(name) for name in wanted], dtype=np.int64)


def _comparable(names: list[str]) -> list[str]:
    """Return all groups but those that can be compared with no other, such as an ancestor of all others."""
    comparable: Bools = np.any(~related(names), axis=1)
    if comparable.any() and not comparable.all():
        left_out = [name for name, kept in zip(names, comparable, strict=True) if not kept]
        logger.warning("left out %s: above or below every other group", left_out)
        return [name for name in names if name not in left_out]
    return names


def _pairs_of_groups(
    cell_groups: Groups, chosen: Ints, reference: str, n_pairs: int, rng: np.random.Generator
) -> list[Pairs]:
    """Return pairs of anchors and negatives for each chosen group."""
    from scim.model.explain import draw_pairs  # noqa: PLC0415  (annotate and search need no torch)

    names = cell_groups.names
    negatives = ~related(names.tolist()) if reference == _REST else np.tile(names == reference, (names.size, 1))
    if alone := [str(names[group]) for group in chosen if not negatives[group].any()]:
        remedy = "Leave them out with groups=, or name a group with reference=."
        msg = f"Nothing to compare {alone} with: expected other types of cells among {names.tolist()}. {remedy}"
        raise ValueError(msg)
    codes = cell_groups.codes
    return [draw_pairs(codes, int(group), np.flatnonzero(negatives[group]), n_pairs, rng) for group in chosen]


def _averages(
    model: Model, counts: Counts, genes: GeneMap, pairs: list[Pairs], n_steps: int
) -> tuple[list[Attribution], list[int]]:
    """Return the mean attribution and the number of pairs of each group; pairs with empty cells are left out."""
    from scim.model.explain import average_attributions  # noqa: PLC0415  (annotate and search need no torch)
    from scim.model.net import DenseEncoder  # noqa: PLC0415  (as above)

    encoder = DenseEncoder(model.encoder, genes.observed)
    cells = np.unique(np.concatenate([np.concatenate(pair) for pair in pairs]))
    X = lognorm_rows(counts, genes, cells, target_sum=model.config.target_sum)
    filled = np.asarray(X.sum(axis=1)).ravel() > 0
    averages, n_used = [], []
    with progress(total=sum(len(pair.anchors) for pair in pairs), desc="explain", unit="pair") as bar:
        for pair in pairs:
            anchors, negatives = np.searchsorted(cells, pair)
            both = filled[anchors] & filled[negatives]
            averages.append(average_attributions(encoder, X[anchors[both]], X[negatives[both]], n_steps=n_steps))
            n_used.append(int(both.sum()))
            bar.update(len(anchors))
    if not filled.all():
        warn(f"{(~filled).sum()} cells have no count in any of the model's genes; pairs with them are left out.")
    return averages, n_used
