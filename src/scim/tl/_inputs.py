"""Read what the tools share: model, counts and embeddings of the query; filters and samples of the atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scim._core import check_rep, keys, refuse_absent
from scim.atlas._open import opened
from scim.index.filter import Filter
from scim.pp import find_counts, match_genes

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData

    from scim._core.types import Floats, Ints
    from scim.atlas import Atlas
    from scim.model import Model
    from scim.pp import Counts, GeneMap
    from scim.pp._species import Species

    AtlasLike = Atlas | str | os.PathLike[str] | None


def model_of(atlas: AtlasLike, model: Model | str | os.PathLike[str] | None) -> Model:
    """Return the model that is given, or that of the atlas; raise ValueError if both are given."""
    from scim.model import Model, load  # noqa: PLC0415  (annotate and search need no torch)

    if model is not None and atlas is not None:
        msg = "Expected atlas= or model=, got both."
        raise ValueError(msg)
    if model is not None:
        return model if isinstance(model, Model) else load(model)
    with opened(atlas) as source:
        return source.model


def embedding_record(adata: AnnData, use_rep: str) -> dict[str, Any]:
    """Return what `tl.embed` wrote in uns about an embedding; empty if another tool made it."""
    records = adata.uns.get(keys.EMBED_PARAMS)
    record = records.get(use_rep) if isinstance(records, dict) else None
    return dict(record) if isinstance(record, dict) else {}


def query_counts(
    adata: AnnData,
    model: Model,
    record: dict[str, Any],
    *,
    layer: str | None,
    gene_key: str | None,
    species: Species | None,
) -> tuple[Counts, GeneMap]:
    """Return counts and genes of cells; arguments that are `None` are those of `tl.embed`, in its `record`."""
    if species is None:
        species = record.get("species", "human")
        if species == "mapping":
            msg = "The embedding was made with a mapping of genes, species={...}; pass the same species= again."
            raise ValueError(msg)
    counts = find_counts(adata, layer or record.get("layer") or None)
    gene_key = gene_key or record.get("gene_key") or None
    return counts, match_genes(counts.var, model.genes, gene_key=gene_key, species=species)


def query_embedding(adata: AnnData, atlas: Atlas, use_rep: str) -> Floats:
    """Return `obsm[use_rep]`; raise ValueError if its model or its width is not that of the atlas."""
    X = check_rep(adata, use_rep)
    model_uid = embedding_record(adata, use_rep).get("model")
    remedy = "run scim.tl.embed(adata, atlas) with the same atlas first."
    if model_uid not in (None, atlas.model_uid):
        msg = f"obsm[{use_rep!r}] was made by model {model_uid}, the atlas by {atlas.model_uid}; {remedy}"
        raise ValueError(msg)
    if X.shape[1] != atlas.index.dim:
        msg = f"obsm[{use_rep!r}] has {X.shape[1]} columns, the atlas {atlas.index.dim}; {remedy}"
        raise ValueError(msg)
    return X


def primary_condition(atlas: Atlas) -> str | None:
    """Return the filter that leaves out secondary copies of cells, as the Census marks them; `None` without marks."""
    return f"{keys.ATLAS_PRIMARY} != False" if atlas.marks_primary else None


def joint_condition(conditions: Sequence[str | None]) -> str | None:
    """Return one filter that passes what all conditions pass; `None` stands for no condition."""
    given = [condition for condition in conditions if condition]
    # The bracket is on a line of its own: a condition may end in a comment.
    return given[0] if len(given) == 1 else " and ".join(f"({condition}\n)" for condition in given) or None


def query_filter(atlas: Atlas, *conditions: str | None) -> dict[str, Any]:
    """Return arguments of the index query: a filter if the index has the columns, else the ids that pass."""
    columns: set[str] = set()
    for condition in conditions:
        if condition is not None:
            parsed = Filter(condition)  # each by itself, so that an error names what the user wrote
            parsed.check_columns(atlas.columns)
            columns |= set(parsed.columns)
    where = joint_condition(conditions)
    if where is None:
        return {}
    return {"where": where} if atlas.indexes(sorted(columns)) else {"allowed": atlas.select(where)}


def tissues(atlas: Atlas, ids: Ints | None = None) -> pd.Series:
    """Return the tissue of cells as categories, by id; all missing if the atlas has no such column."""
    ids = atlas.ids if ids is None else ids
    names = [keys.ATLAS_TISSUE]
    if names[0] not in atlas.columns:
        return pd.Series(pd.Categorical([None] * len(ids)), index=ids)
    rows = atlas.index.obs(ids, names) if atlas.indexes(names) else atlas.obs(ids, columns=names)
    tissue: pd.Series = rows[names[0]].astype("category")
    return tissue.cat.remove_unused_categories()


class AtlasSamples(NamedTuple):
    """Samples of cells of an atlas: the combinations of values of columns that occur among them."""

    frame: pd.DataFrame  # a row for each sample: its values as text, in columns of their names, and `n_cells`
    ids: Ints  # (n_cells,) ascending ids of the cells that belong to a sample
    codes: Ints  # (n_cells,) row of `frame` for each cell


def atlas_samples(atlas: Atlas, ids: Ints, columns: Sequence[str]) -> AtlasSamples:
    """Return the samples of cells; those that miss a value are in none. Raise ValueError if all do."""
    refuse_absent(columns, atlas.columns, of="The atlas")
    rows = atlas.index.obs(ids, columns) if atlas.indexes(columns) else atlas.obs(ids, columns=columns)
    factors = {name: pd.factorize(rows[name], sort=True) for name in columns}
    complete = np.logical_and.reduce([codes >= 0 for codes, _ in factors.values()])
    if not complete.any():
        msg = f"No cell of the atlas that passes has a value in all of {list(columns)}."
        raise ValueError(msg)
    combined = np.zeros(int(complete.sum()), dtype=np.int64)
    for codes, values in factors.values():
        combined = combined * len(values) + codes[complete]
    first, sample, n_cells = np.unique(combined, return_index=True, return_inverse=True, return_counts=True)[1:]
    frame = {
        name: np.array([str(value) for value in values], dtype=object)[codes[complete][first]]
        for name, (codes, values) in factors.items()
    }
    return AtlasSamples(pd.DataFrame(frame).assign(n_cells=n_cells), ids[complete], sample)
