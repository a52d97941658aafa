"""Embed cells with the model of an atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import keys, logger
from scim._core.cosine import is_directed
from scim.pp import find_counts, match_genes
from scim.tl._inputs import check_counts_arguments, model_of
from scim.tl._slots import check_embedding_slot, replace_slots

if TYPE_CHECKING:
    import os

    from anndata import AnnData

    from scim._core.types import Transform
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
    transform: Transform | None = None,
    gene_key: str | None = None,
    species: Species = "human",
    key_added: str = keys.EMBEDDING,
    copy: bool = False,
) -> AnnData | None:
    """Embed cells with the model of an atlas.

    The counts are found (`layers['counts']`, `X`, `raw`, by :func:`scim.pp.find_counts`), their genes are matched to
    those of the model, and the cells are log-normalised over these genes and encoded in chunks, as in
    :cite:t:`Heimberg2025`.

    Parameters
    ----------
    adata
        Cells with counts; genes as Ensembl ids or symbols. A backed or Dask-backed AnnData is read block by block.
    atlas
        An open atlas, or the path of one. Default: `scim.settings.atlas`, else the atlas that comes with the package.
    model
        A model to use instead, or the folder of one.
    layer
        Place of the counts: a layer, `"X"` or `"raw"`. Default: the one with most genes, and of these with counts.
    transform
        What was done to the counts: `"none"`, `"log1p"`, `"log2"`, `"log10"`, `"sqrt"` or `"arcsinh"`; it is undone.
        Default: what the values tell; if they do not, an error asks for it.
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
        What was read. The model (`model`); the matrix and why it was chosen (`counts`, `counts_why`), what it holds
        and how that was told (`kind`, `kind_reason`), and the transform that was undone (`transform`); the place and
        kind of the gene names (`genes`, `gene_names`), how names were repaired (`repairs`) and the number of columns
        left out, by type (`left_out`); the species, and how many genes were shared (`n_genes_shared`,
        `n_genes_model`, `gene_share`), and for another species than human how many have a human ortholog
        (`n_genes_mapped`, `mapped_share`); the number of cells without counts (`n_cells_empty`). What was given:
        `layer`, `transform_given`, `gene_key`.

    Raises
    ------
    CountsError
        There are no counts: negative, NaN, scaled or empty values, or values that do not tell how they were made.
    GeneOverlapError
        Too few of the model's genes are in the data. Gene panels of a few hundred are embedded; the warning says what
        they cost, where the model has measured it.
    ValueError, TypeError
        `species` is neither the name of a supported species nor a mapping of names; `transform` is none of the words.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> adata.obsm["X_scim"].shape[0] == adata.n_obs
    True
    """
    check_embedding_slot(adata, key_added, copy=copy)
    check_counts_arguments(layer, transform, gene_key, species)
    encoder = model_of(atlas, model)
    counts = find_counts(adata, layer, transform)
    curve = encoder.metadata.get("panel_curve")
    genes = match_genes(counts.var, encoder.genes, gene_key=gene_key, species=species, panel_curve=curve)
    embedding = encoder.embed(counts, genes)

    adata = adata.copy() if copy else adata
    given = {"layer": layer or "", "transform_given": transform or "", "gene_key": gene_key or ""}
    n_empty = int((~is_directed(embedding)).sum())
    record = _provenance(encoder, counts, genes) | given | {"n_cells_empty": n_empty}
    records = {**adata.uns.get(keys.EMBED_PARAMS, {}), key_added: record}
    replace_slots(adata, {("obsm", key_added): embedding, ("uns", keys.EMBED_PARAMS): records}, [])
    logger.info("wrote obsm[%r], from %d of the model's %d genes", key_added, genes.n_matched, genes.observed.size)
    return adata if copy else None


def _provenance(model: Model, counts: Counts, genes: GeneMap) -> dict[str, Any]:
    mapped = {
        "n_genes_mapped": genes.n_mapped,
        "mapped_share": float(np.round(genes.n_mapped / max(1, genes.n_columns), 4)),
    }
    return {
        "model": model.uid,
        "counts": counts.source,
        "counts_why": counts.why,
        "kind": counts.kind,
        "kind_reason": counts.reason,
        "transform": counts.transform,
        "genes": genes.source,
        "gene_names": genes.kind,
        "repairs": "; ".join(genes.repairs),
        "left_out": {what.replace("/", "-"): n for what, n in genes.left_out.items()},
        "species": genes.species,
        "n_genes_shared": genes.n_matched,
        "n_genes_model": int(genes.observed.size),
        "gene_share": float(np.round(genes.share, 4)),
    } | ({} if genes.species == "human" else mapped)
