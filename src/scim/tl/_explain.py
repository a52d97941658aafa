"""Groups of cells to the genes by which the model tells them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import keys
from scim._core.checks import check_adata, check_count, check_key, check_writable
from scim._core.log import logger, progress, warn
from scim.pp import lognorm_rows
from scim.tl._context import counts_as_embedded, embedded_by, model_of
from scim.tl._contrast import REST, chosen_groups, labelled_groups, pairs_of_groups

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData

    from scim.model import Model
    from scim.model.explain import Attribution, Pairs
    from scim.pp import Counts, GeneMap, Species
    from scim.tl._context import AtlasLike


def explain(
    adata: AnnData,
    atlas: AtlasLike = None,
    *,
    groupby: str = keys.LABEL,
    groups: Sequence[str] | str | None = None,
    reference: str = REST,
    model: Model | str | os.PathLike[str] | None = None,
    n_pairs: int = 200,
    n_steps: int = 20,
    layer: str | None = None,
    gene_key: str | None = None,
    species: Species | None = None,
    rng: int | np.random.Generator | None = 0,
    key_added: str = keys.EXPLAIN,
    copy: bool = False,
) -> AnnData | None:
    r"""Say by which genes the model tells groups of cells apart: why this label.

    Cells of each group (anchors :math:`x`) are paired with cells of other types (negatives :math:`x'`). The squared
    distance of their embeddings :math:`f` is attributed to the genes by integrated gradients
    :cite:p:`Sundararajan2017` along the straight path from the negative to the anchor, and kept, as an absolute value,
    where the anchor has more of the gene :cite:p:`Heimberg2025`:

    .. math::

        a_g = \Big\lvert (x_g - x'_g) \int_0^1 \frac{\partial}{\partial x_g}
        \lVert f(x') - f(x' + t (x - x')) \rVert^2 \, dt \Big\rvert \quad \text{if } x_g > x'_g, \text{ else } 0.

    A gene with a high mean over the pairs is one that the group has and by which the model moves it away from others.
    The integrals are those of captum :cite:p:`Kokhlikyan2020`.

    Parameters
    ----------
    adata
        Cells with counts, in groups; a backed AnnData is streamed.
    atlas
        The atlas whose model is explained: an open one, or a path.
        Default: `scim.settings.atlas`, else the atlas that comes with the package.
    groupby
        Column of obs with the groups; cells without a value are left out.
    groups
        Names of the groups to explain. Default: all.
    reference
        What the groups are compared with: a group, or `"rest"`, all other types alike, however many cells each has.
        Groups of which one is above the other in the Cell Ontology are not other types.
    model
        A model to use instead, or the folder of one.
    n_pairs
        Number of pairs for each group, at least 2. Cells of small groups are in several.
    n_steps
        Number of points on the path of each pair at which gradients are taken (Gauss-Legendre); 50 is usual, and
        changes hardly any rank.
    layer, gene_key, species
        Where counts and gene names are, and whose, as in :func:`scim.tl.embed`. Default: as that was told. The genes
        that are named are the human ones.
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
        Parameters, and which model it was.

    :func:`scim.get.attribution` makes a table of it, :func:`scim.pl.attribution` a picture.

    Raises
    ------
    KeyError
        There is no column `groupby` (run `scim.tl.annotate` first), or no such group.
    ValueError
        There is nothing to compare a group with, or `species` was a mapping when the cells were embedded, and is
        missing now.
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
    check_adata(adata)
    check_writable(adata, copy=copy)
    check_key(key_added, taken=(keys.EMBED_PARAMS, keys.LABEL, keys.SEARCH))
    check_count("n_pairs", n_pairs, least=2)
    check_count("n_steps", n_steps)
    found = labelled_groups(adata, groupby)
    chosen = chosen_groups(found, groups, reference, groupby)
    explained = model_of(atlas, model)
    made = _embedded(adata, explained)
    counts, genes = counts_as_embedded(adata, explained, made, layer=layer, gene_key=gene_key, species=species)
    pairs = pairs_of_groups(found, chosen, reference, n_pairs, np.random.default_rng(rng))
    averages, used = _averages(explained, counts, genes, pairs, n_steps)

    adata = adata.copy() if copy else adata
    params = {"groupby": groupby, "reference": reference, "n_pairs": n_pairs, "n_steps": n_steps}
    params |= {"rng": rng if isinstance(rng, int) else "", "layer": layer or "", "gene_key": gene_key or ""}
    params |= {"species": genes.species}
    adata.uns[key_added] = {
        "params": params,
        "model": explained.uid,
        "groups": found.names[chosen].astype(str),
        "genes": explained.genes.astype(str),
        "symbols": explained.symbols.astype(str),
        "n_pairs": np.array(used, dtype=np.int64),
    } | {name: np.stack([getattr(average, name) for average in averages]) for name in ("mean", "std", "ci")}
    logger.info("wrote uns[%r]: %d groups, %d pairs, %d genes", key_added, len(used), sum(used), genes.n_matched)
    return adata if copy else None


def _embedded(adata: AnnData, model: Model) -> dict[str, Any]:
    """Return what `tl.embed` noted; warn if it was another model that placed the cells."""
    made = embedded_by(adata, keys.EMBEDDING)
    if made.get("model") not in (None, model.uid):
        warn(
            f"obsm[{keys.EMBEDDING!r}] was made by model {made['model']}, but {model.uid} is explained: labels may "
            "have other reasons. Pass the atlas= or model= that embedded the cells."
        )
    return made


def _averages(
    model: Model, counts: Counts, genes: GeneMap, pairs: list[Pairs], n_steps: int
) -> tuple[list[Attribution], list[int]]:
    """Return the mean attribution of each group, and of how many pairs it is; cells without counts are left out."""
    from scim.model.explain import average_attributions  # noqa: PLC0415  (torch is needed here, not to search)
    from scim.model.net import DenseEncoder  # noqa: PLC0415  (as above)

    encoder = DenseEncoder(model.encoder, genes.observed)
    cells = np.unique(np.concatenate([np.concatenate(pair) for pair in pairs]))
    X = lognorm_rows(counts, genes, cells, target_sum=model.config.target_sum)
    filled = np.asarray(X.sum(axis=1)).ravel() > 0
    averages, used = [], []
    with progress(total=sum(len(pair.anchors) for pair in pairs), desc="explain", unit="pair") as bar:
        for pair in pairs:
            anchors, negatives = np.searchsorted(cells, pair)
            some = filled[anchors] & filled[negatives]
            averages.append(average_attributions(encoder, X[anchors[some]], X[negatives[some]], n_steps=n_steps))
            used.append(int(some.sum()))
            bar.update(len(anchors))
    if not filled.all():
        warn(f"{(~filled).sum()} cells have no count in any of the model's genes; pairs with them are left out.")
    return averages, used
