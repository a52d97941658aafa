"""What the tools share: the model asked for, and whether an embedding fits it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scim import atlas as atlases
from scim._core import keys
from scim._core.checks import check_rep
from scim.pp import find_counts, match_genes

if TYPE_CHECKING:
    import os

    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray

    from scim.model import Model
    from scim.pp import Counts, GeneMap, Species

    AtlasLike = atlases.Atlas | str | os.PathLike[str] | None


def model_of(atlas: AtlasLike, model: Model | str | os.PathLike[str] | None) -> Model:
    """Return the model that was asked for: one given, or that of an atlas.

    Raises
    ------
    ValueError
        Both are given.
    """
    from scim.model import Model, load  # noqa: PLC0415  (torch is needed here, not by annotate or search)

    if model is not None and atlas is not None:
        msg = "Expected atlas= or model=, got both."
        raise ValueError(msg)
    if model is not None:
        return model if isinstance(model, Model) else load(model)
    with atlases.opened(atlas) as source:
        return source.model


def embedded_by(adata: AnnData, use_rep: str) -> dict[str, Any]:
    """Return what `tl.embed` noted of an embedding; empty if it did not make it."""
    notes = adata.uns.get(keys.EMBED_PARAMS)
    note = notes.get(use_rep) if isinstance(notes, dict) else None
    return dict(note) if isinstance(note, dict) else {}


def counts_as_embedded(
    adata: AnnData,
    model: Model,
    made: dict[str, Any],
    *,
    layer: str | None,
    gene_key: str | None,
    species: Species | None,
) -> tuple[Counts, GeneMap]:
    """Return the counts of cells and their genes: where `tl.embed` found them (`made`), unless told otherwise.

    Raises
    ------
    ValueError
        `tl.embed` was given a mapping of genes, which is not kept in `uns`, and none is given now.
    CountsError, GeneOverlapError
        As in :func:`scim.tl.embed`.
    """
    if species is None:
        species = made.get("species", "human")
        if species == "mapping":
            msg = "The embedding was made with a mapping of genes, species={...}; pass the same species= again."
            raise ValueError(msg)
    counts = find_counts(adata, layer or made.get("layer") or None)
    gene_key = gene_key or made.get("gene_key") or None
    return counts, match_genes(counts.var, model.genes, gene_key=gene_key, species=species)


def fitting_rep(adata: AnnData, atlas: atlases.Atlas, use_rep: str) -> NDArray[np.float32]:
    """Return `obsm[use_rep]`, refused if it was made for another atlas.

    Raises
    ------
    KeyError
        It is not there.
    ValueError
        It has another width than the atlas, or another model made it.
    """
    X = check_rep(adata, use_rep)
    made_by = embedded_by(adata, use_rep).get("model")
    if made_by is not None and made_by != atlas.model_uid:
        msg = (
            f"obsm[{use_rep!r}] was made by model {made_by}, the atlas by {atlas.model_uid}; "
            "run scim.tl.embed(adata, atlas) with the same atlas first."
        )
        raise ValueError(msg)
    if X.shape[1] != atlas.index.dim:
        msg = (
            f"obsm[{use_rep!r}] has {X.shape[1]} columns, the atlas {atlas.index.dim}; "
            "run scim.tl.embed(adata, atlas) first and search its embedding."
        )
        raise ValueError(msg)
    return X
