"""The embedding of a query: scaled to unit rows, and made by what made the embedding of the atlas."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scim._core import CountsError, GeneOverlapError, ScimWarning, check_text, keys, logger
from scim._core.adata import embedding_record
from scim._core.cosine import is_directed
from scim.io.cells import dense
from scim.label_transfer._input import check_rows
from scim.pp import find_counts, lognorm_rows, match_genes

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scim._core.types import Floats
    from scim.atlas import Atlas

_N_CHECKED = 64  # cells that are embedded again
_LEAST_UNIT = 1e-3  # difference of a length from 1; `tl.embed` writes rows of length 1, in float32
# Median distance of coordinates to those of the same cells by the model: of pbmc3k .2 if two thirds of the genes were
# removed since, .5 with 2,000 random ones left; .8 for other cells of it, about 1 for another model or method.
_FARTHEST = 0.5
_FEW_GENES = 0.25  # of the model's; the coordinates by fewer do not show that others are foreign


class QueryEmbedding(NamedTuple):
    """The embedding of query cells, in the coordinates of an atlas."""

    X: Floats
    """(n_obs, dim) unit rows; zeros for cells without counts."""

    record: dict[str, Any]
    """What `tl.embed` wrote in uns of it, or the model by which it was found to be; empty if nothing is known."""


def is_embedded(record: dict[str, Any]) -> bool:
    """Return whether a record is one of `tl.embed`, which can find the counts again."""
    return "counts" in record


def query_embedding(adata: AnnData, atlas: Atlas, use_rep: str) -> QueryEmbedding:
    """Return `obsm[use_rep]`; raise ValueError if its model, its width or its coordinates are not those of the atlas.

    Its origin is the model in its record in uns. Without a record, as after `anndata.concat`, some cells are embedded
    again with the model of the atlas and compared, if they have counts. Rows may be of any length: all are scaled.
    """
    check_text(use_rep=use_rep)
    is_made_elsewhere = atlas.snapshot.embedding.folder is None
    if is_made_elsewhere and use_rep not in adata.obsm:
        msg = f"obsm[{use_rep!r}] not found. This atlas has no model but an embedding made elsewhere, called "
        msg += (
            f"{atlas.snapshot.embedding.name!r}; name that of the cells with use_rep=. Present: {sorted(adata.obsm)}."
        )
        raise KeyError(msg)
    X, record = unit_embedding(adata, use_rep), embedding_record(adata, use_rep)
    made_by, remedy = record.get("model"), "run scim.tl.embed(adata, atlas) with the same atlas first."
    if is_made_elsewhere:
        how = f"del adata.uns[{keys.EMBED_PARAMS!r}][{use_rep!r}]"
        remedy = "name with use_rep= an embedding that was made like that of the atlas"
        remedy += f"; if this one was, remove its record: {how}." if made_by is not None else "."
    if made_by is not None and made_by != atlas.model_uid:
        by = "another method" if atlas.model_uid is None else atlas.model_uid
        msg = f"obsm[{use_rep!r}] was made by model {made_by}, the atlas by {by}; {remedy}"
        raise ValueError(msg)
    if X.shape[1] != atlas.dim:
        msg = f"obsm[{use_rep!r}] has {X.shape[1]} columns, the atlas {atlas.dim}; {remedy}"
        raise ValueError(msg)
    if not _has_unit_rows(adata, use_rep):
        logger.info("rows of obsm[%r] are scaled to unit length", use_rep)
    return QueryEmbedding(X, record if made_by is not None else _found_origin(adata, atlas, use_rep, X))


def unit_embedding(adata: AnnData, use_rep: str) -> Floats:
    """Return `obsm[use_rep]` as unit rows, (n_obs, dim); KeyError without it, ValueError if it is no table."""
    if use_rep not in adata.obsm:
        msg = f"obsm[{use_rep!r}] not found; run scim.tl.embed(adata) first, or name another with use_rep=."
        msg += f" Present: {sorted(adata.obsm)}."
        raise KeyError(msg)
    array = dense(adata.obsm[use_rep], f"obsm[{use_rep!r}]")
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        msg = f"obsm[{use_rep!r}] must be a table of numbers, got {array.dtype} of shape {array.shape}."
        raise ValueError(msg)
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        msg = f"obsm[{use_rep!r}] has NaN or infinite values in {int((~finite).sum())} cells; embed them again."
        raise ValueError(msg)
    with np.errstate(over="ignore"):  # a length beyond float32 is not 1
        return check_rows(array, what=f"rows of obsm[{use_rep!r}]")


def _found_origin(adata: AnnData, atlas: Atlas, use_rep: str, X: Floats) -> dict[str, Any]:
    """Return a record of an embedding that has none; raise ValueError unless it is that of the atlas."""
    entry, uid = atlas.snapshot.embedding, atlas.model_uid
    if entry.folder is None:
        if use_rep != entry.name and entry.name != keys.EMBEDDING:
            names = f"the atlas was made of an embedding named {entry.name!r}, the cells have {use_rep!r}"
            logger.warning("%s: distances mean something only if one method made both", names)
        return {}
    distance = _distance_to_model(adata, atlas, X)
    if distance is not None and distance <= _FARTHEST:
        logger.info("obsm[%r] has no record; cells embedded again show that the model of the atlas made it", use_rep)
        return {"model": uid, "counts": "found"}
    if distance is None and use_rep == keys.EMBEDDING and _has_unit_rows(adata, use_rep):
        found = "and counts of few genes or none to check it"
        logger.warning("obsm[%r] has no record, %s: taken for that of model %s", use_rep, found, uid)
        return {}
    how = f"adata.uns['scim'] = adata.uns.get('scim', {{}}) | {{{use_rep!r}: {{'model': {uid!r}}}}}"
    found = f"has no record of the model that made it, expected {uid}, that of the atlas"
    if distance is not None:
        found = f"was not made by the model of the atlas: cells embedded again lie {distance:.2f} (cosine) from it"
    msg = f"obsm[{use_rep!r}] {found}. Run scim.tl.embed(adata, atlas), which writes obsm[{keys.EMBEDDING!r}]; or, if "
    msg += f"it has the coordinates of this model, record that: {how}."
    raise ValueError(msg)


def _has_unit_rows(adata: AnnData, use_rep: str) -> bool:
    rows = dense(adata.obsm[use_rep], f"obsm[{use_rep!r}]")
    with np.errstate(over="ignore"):  # a length beyond its type is not 1
        lengths: NDArray[Any] = np.linalg.norm(rows, axis=1)
    return bool((np.abs(lengths - 1)[lengths > 0] < _LEAST_UNIT).all())


def _distance_to_model(adata: AnnData, atlas: Atlas, X: Floats) -> float | None:
    """Return the median cosine distance of cells to themselves, embedded by the model; `None` if it tells nothing."""
    directed = np.flatnonzero(is_directed(X))
    if not directed.size:
        return None
    rows = directed[np.linspace(0, directed.size - 1, min(directed.size, _N_CHECKED)).astype(np.int64)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScimWarning)  # of counts and genes: they are only compared
        try:
            counts = find_counts(adata)
            model = atlas.model  # loads torch, for cells with counts only
            genes = match_genes(counts.var, model.genes)
        except (CountsError, GeneOverlapError):
            return None
        expression = lognorm_rows(counts, genes, rows, target_sum=model.config.target_sum)
        again = model.encode(expression, observed=genes.observed)
    both = is_directed(again)
    if not both.any():
        return None
    distance = float(np.median(1 - np.einsum("ij,ij->i", X[rows[both]], again[both])))
    is_unsure = distance > _FARTHEST and genes.n_matched < _FEW_GENES * genes.observed.size
    return None if is_unsure else distance
