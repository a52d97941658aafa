"""Define `scim search` and `scim enrichment`."""

from __future__ import annotations

from typing import Any

from scim._core import Alternative, Centroid, keys
from scim.cli._files import check_output, read_cells
from scim.cli._options import (  # noqa: TC001  (cyclopts reads the types of parameters when it runs)
    DuplicateCells,
    GeneKey,
    Layer,
    Output,
    Overwrite,
    Query,
    Species,
    Spreadsheet,
    Transformed,
    UriOrDefault,
    Where,
)
from scim.cli._tables import show, show_table, write_result
from scim.cli._trial import try_on_one_cell


def search(
    query: Query,
    /,
    *,
    output: Output,
    atlas: UriOrDefault = None,
    groupby: str | None = None,
    centroid: Centroid | None = None,
    k: int = 50,
    where: Where = None,
    max_distance: float | None = None,
    duplicates: DuplicateCells = "collapse",
    columns: list[str] | None = None,
    layer: Layer = None,
    transform: Transformed = None,
    gene_key: GeneKey = None,
    species: Species = "human",
    spreadsheet: Spreadsheet = False,
    overwrite: Overwrite = False,
) -> None:
    """Find the cells of an atlas that are most similar to those of a file.

    Example: scim search query.h5ad -o hits.csv --groupby leiden --k 1000 --where "study != 'pbmc3k'"

    Parameters
    ----------
    output
        What to write: a table with a row for each hit (.csv, .tsv, .parquet), or the cells with their
        hits (.h5ad, .zarr). The column "similar" marks the hits that are like their query.
    groupby
        Column of obs: one search for each of its groups. Default: one for each cell.
    centroid
        How a group becomes a query: by its summed counts, its mean embedding, or the contrast with the other groups.
    k
        Number of hits for each query.
    max_distance
        Leave out cells farther away than this cosine distance (0 to 2).
    columns
        Columns of the atlas to add to the table. Default: all.
    """
    from scim import get, tl

    check_output(output, overwrite=overwrite, inputs=[query])
    adata = read_cells(query, groupby)
    arguments: dict[str, Any] = {"k": k, "where": where, "max_distance": max_distance, "duplicates": duplicates}
    try_on_one_cell(tl.search, atlas, columns=columns or (), **arguments)
    tl.embed(adata, atlas, layer=layer, transform=transform, gene_key=gene_key, species=species)
    tl.search(adata, atlas, groupby=groupby, centroid=centroid, **arguments)
    write_result(adata, output, lambda: get.hits(adata, columns, only_similar=False), spreadsheet=spreadsheet)
    composition = get.composition(adata, "label").head(12)
    if len(composition):
        show_table(composition.round(3))
    else:
        show("no hit is like its query")
    show()
    show(f"wrote {output}")


def enrichment(
    query: Query,
    /,
    *,
    output: Output,
    by: str,
    sample_key: str,
    atlas: UriOrDefault = None,
    groupby: str | None = None,
    centroid: Centroid | None = None,
    k: int = 1000,
    where: Where = None,
    max_distance: float | None = None,
    study_key: str = keys.ATLAS_STUDY,
    alternative: Alternative = "greater",
    duplicates: DuplicateCells = "collapse",
    layer: Layer = None,
    transform: Transformed = None,
    gene_key: GeneKey = None,
    species: Species = "human",
    spreadsheet: Spreadsheet = False,
    overwrite: Overwrite = False,
) -> None:
    """Test in which tissues, diseases, ... of an atlas cells similar to those of a file are more frequent.

    Example: scim enrichment query.h5ad -o tissues.csv --by tissue --sample-key donor --groupby leiden

    Parameters
    ----------
    output
        What to write: a table with a row for each query and value (.csv, .tsv, .parquet), or the cells (.h5ad, .zarr).
    by
        Column of the atlas with the values that are tested.
    sample_key
        Column of the atlas with the samples or donors, which are the replicates of the test.
    groupby
        Column of obs: a query for each of its groups. Default: all cells are one query.
    centroid
        How a group becomes a query: by its summed counts, its mean embedding, or the contrast with the other groups.
    k
        Number of hits of each query (of each cell, without --groupby).
    max_distance
        Leave out hits farther away than this cosine distance (0 to 2).
    study_key
        Column of the atlas with the studies of the samples.
    alternative
        greater: more hits than in the other samples; less; or two-sided.
    """
    from scim import get, tl

    check_output(output, overwrite=overwrite, inputs=[query])
    adata = read_cells(query, groupby)
    arguments: dict[str, Any] = {"k": k, "where": where, "max_distance": max_distance, "duplicates": duplicates}
    try_on_one_cell(tl.search, atlas, columns=(by, sample_key, study_key), **arguments)
    tl.embed(adata, atlas, layer=layer, transform=transform, gene_key=gene_key, species=species)
    tl.search(adata, atlas, groupby=groupby, centroid=centroid, **arguments)
    tl.enrichment(adata, by, sample_key=sample_key, study_key=study_key, alternative=alternative, atlas=atlas)
    write_result(adata, output, lambda: get.enrichment(adata), spreadsheet=spreadsheet)
    best = get.enrichment(adata).groupby("query", sort=False).head(3)
    table = best.drop(columns=["n_cells", "fraction", "background"])
    show_table(table, float_format=lambda value: f"{value:.3g}")
    show()
    show(f"wrote {output}")
