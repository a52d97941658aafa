"""Embed cells with the model of an atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import check_text_or_none, keys, logger
from scim.pp import find_counts, match_genes
from scim.tl._inputs import model_of
from scim.tl._slots import check_embedding_slot, replace_slots

if TYPE_CHECKING:
    import os

    from anndata import AnnData

    from scim.model import Model
    from scim.pp import Counts, GeneMap
    from scim.pp._species import Species
    from scim.tl._inputs import AtlasLike


def embed(
    adata: AnnData,
    atlas: AtlasLike = None,
    *,
    model: Model | str | os.PathLike[str] | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    species: Species = "human",
    key_added: str = keys.EMBEDDING,
    copy: bool = False,
) -> AnnData | None:
    """Embed cells with the model of an atlas.

    The counts are found (`layers['counts']`, `X`, `raw`), their genes are matched to those of the model, and the cells
    are log-normalised over these genes and encoded in chunks, as in :cite:t:`Heimberg2025`.

    Parameters
    ----------
    adata
        Cells with counts; genes as Ensembl ids or symbols. A backed AnnData is streamed.
    atlas
        An open atlas, or the path of one. Default: `scim.settings.atlas`, else the atlas that comes with the package.
    model
        A model to use instead, or the folder of one.
    layer
        Place of the counts: a layer, `"X"` or `"raw"`. Default: the first of them that has counts.
    gene_key
        Column of var with the gene names. Default: the index or column with most genes of the model.
    species
        Species of the genes: `"human"`, `"mouse"` (symbols), or for any other a dict or Series
        `{gene name: human gene name}`; see :func:`scim.pp.match_genes`.
    key_added
        Name of the embedding in `obsm`.
    copy
        Whether to return a new AnnData and leave this one alone.

    Returns
    -------
    `None`, or with `copy=True` the new AnnData. Writes:

    `adata.obsm[key_added]` : float32, shape (n_obs, latent_dim)
        Unit rows. A cell without a single count among the model's genes gets a row of zeros, with a warning.
    `adata.uns["scim"][key_added]` : dict
        The model, the places of counts and gene names, the species, and how many genes were shared; for another
        species than human, how many genes of the data have a human ortholog (`n_genes_mapped`, `mapped_share`).

    Raises
    ------
    CountsError
        There are no counts: negative, NaN, scaled or empty values.
    GeneOverlapError
        Too few of the model's genes are in the data. Gene panels of a few hundred are embedded; the warning says what
        they cost, where the model has measured it.
    ValueError, TypeError
        `species` is neither the name of a supported species nor a mapping of names.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> adata.obsm["X_scim"].shape[0] == adata.n_obs
    True
    """
    check_embedding_slot(adata, key_added, copy=copy)
    check_text_or_none(layer=layer, gene_key=gene_key)
    encoder = model_of(atlas, model)
    counts = find_counts(adata, layer)
    curve = encoder.metadata.get("panel_curve")
    genes = match_genes(counts.var, encoder.genes, gene_key=gene_key, species=species, panel_curve=curve)
    embedding = encoder.embed(counts, genes)

    adata = adata.copy() if copy else adata
    given = {"layer": layer or "", "gene_key": gene_key or ""}
    record = _provenance(encoder, counts, genes) | given
    records = {**adata.uns.get(keys.EMBED_PARAMS, {}), key_added: record}
    replace_slots(adata, {("obsm", key_added): embedding, ("uns", keys.EMBED_PARAMS): records}, [])
    logger.info("wrote obsm[%r], from %d of the model's %d genes", key_added, genes.n_matched, genes.observed.size)
    return adata if copy else None


def _provenance(model: Model, counts: Counts, genes: GeneMap) -> dict[str, Any]:
    mapped = {"n_genes_mapped": genes.n_mapped, "mapped_share": float(np.round(genes.n_mapped / len(genes.names), 4))}
    return {
        "model": model.uid,
        "counts": counts.source,
        "kind": counts.kind,
        "genes": genes.source,
        "gene_names": genes.kind,
        "species": genes.species,
        "n_genes_shared": genes.n_matched,
        "n_genes_model": int(genes.observed.size),
        "gene_share": float(np.round(genes.share, 4)),
    } | ({} if genes.species == "human" else mapped)
