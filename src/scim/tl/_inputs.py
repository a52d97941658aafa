"""Read what the tools share: model and counts of the query; filters and samples of the atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from scim._core import check_choice, check_path, check_text_or_none, keys, logger, refuse_absent
from scim._core.cosine import is_directed
from scim._core.no_label import read_names
from scim._core.types import Transform
from scim.atlas._open import opened
from scim.index.filter import Filter
from scim.pp import find_counts, match_genes
from scim.pp._species import species_name

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
        if isinstance(model, Model):
            return model
        check_path("model", model)
        return load(model)
    with opened(atlas) as source:
        return source.model


def check_counts_arguments(
    layer: str | None, transform: Transform | None, gene_key: str | None, species: Species | None
) -> None:
    """Raise TypeError or ValueError for wrong arguments of :func:`scim.tl.embed` on counts and genes."""
    check_text_or_none(layer=layer, gene_key=gene_key)
    if species is not None:
        species_name(species)
    if transform is not None:
        check_choice("transform", transform, get_args(Transform))


def query_counts(
    adata: AnnData,
    model: Model,
    record: dict[str, Any],
    *,
    layer: str | None,
    transform: Transform | None,
    gene_key: str | None,
    species: Species | None,
) -> tuple[Counts, GeneMap]:
    """Return counts and genes of cells; arguments that are `None` are those of `tl.embed`, in its `record`."""
    if species is None:
        species = record.get("species", "human")
        if species == "mapping":
            msg = "The embedding was made with a mapping of genes, species={...}; pass the same species= again."
            raise ValueError(msg)
    if layer is None:
        layer, transform = record.get("layer") or None, transform or record.get("transform_given") or None
    counts = find_counts(adata, layer, transform)
    gene_key = gene_key or record.get("gene_key") or None
    return counts, match_genes(counts.var, model.genes, gene_key=gene_key, species=species)


def primary_condition(atlas: Atlas) -> str | None:
    """Return the filter that leaves out secondary copies of cells, as the Census marks them; `None` without marks."""
    return f"{keys.ATLAS_PRIMARY} != False" if atlas.marks_primary else None


def report_empty(X: Floats) -> int:
    """Return the number of cells without counts, rows of zeros, and log it with their share."""
    n_empty = int((~is_directed(X)).sum())
    if n_empty:
        message = "%d of %d cells (%.1f %%) have no counts in the model's genes: nothing is found for them"
        logger.info(message, n_empty, len(X), 100 * n_empty / len(X))
    return n_empty


def report_left_out(n_empty: int, n_cells: int) -> int:
    """Log the number of cells of the atlas that were left out, without counts, with their share; return it."""
    if n_empty:
        message = "left out %d of %d cells of the atlas (%.1f %%) without counts in the model's genes"
        logger.info(message, n_empty, n_cells, 100 * n_empty / n_cells)
    return n_empty


def with_counts(atlas: Atlas, ids: Ints) -> Ints:
    """Return the ids of cells that have a direction in the embedding; cells without counts are left out."""
    empty = atlas.index.empty_ids
    return ids[~np.isin(ids, empty)] if empty.size else ids


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


def _factor(column: pd.Series) -> pd.Series:
    """Return a column of samples; its texts are read as names, so that blanks or "nan" name no sample."""
    return column if is_numeric_dtype(column.dtype) else pd.Series(read_names(column).values, index=column.index)


class AtlasSamples(NamedTuple):
    """Samples of cells of an atlas: the combinations of values of columns that occur among them."""

    frame: pd.DataFrame  # a row for each sample: its values as text, in columns of their names
    n_cells: Ints  # (n_samples,)
    ids: Ints  # (n_cells,) ascending ids of the cells that belong to a sample
    codes: Ints  # (n_cells,) row of `frame` for each cell


def atlas_samples(atlas: Atlas, ids: Ints, columns: Sequence[str]) -> AtlasSamples:
    """Return the samples of cells; those that miss a value are in none. Raise ValueError if all do."""
    refuse_absent(columns, atlas.columns, of="The atlas")
    rows = atlas.index.obs(ids, columns) if atlas.indexes(columns) else atlas.obs(ids, columns=columns)
    factors = {name: pd.factorize(_factor(rows[name]), sort=True) for name in columns}
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
    return AtlasSamples(pd.DataFrame(frame), n_cells, ids[complete], sample)
