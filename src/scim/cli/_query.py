"""`scim annotate` and `scim search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from scim._core.checks import check_obs_key
from scim._core.types import Duplicates, SpeciesName, Weights  # noqa: TC001  (cyclopts reads it)
from scim.cli._files import check_output, read_cells, write_cells, write_table

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

Output = Annotated[Path, Parameter(name=["--output", "-o"])]


def annotate(
    query: Path,
    /,
    *,
    output: Output,
    atlas: str | None = None,
    k: int = 50,
    weights: Weights = "balanced",
    allow: list[str] | None = None,
    block: list[str] | None = None,
    where: str | None = None,
    groupby: str | None = None,
    level: list[str] | None = None,
    max_error: float = 0.1,
    max_distance: float = 2.0,
    duplicates: Duplicates = "collapse",
    layer: str | None = None,
    gene_key: str | None = None,
    species: SpeciesName = "human",
    overwrite: bool = False,
) -> None:
    """Label the cells of a file.

    Finds the counts, embeds the cells with the model of the atlas, and lets their nearest labelled cells vote.

    Example: scim annotate query.h5ad -o labelled.h5ad --atlas my.scim

    Parameters
    ----------
    query
        Cells: an .h5ad, .zarr or 10x .h5 file with counts and gene symbols, human ones or --species mouse, or
        human Ensembl ids.
    output
        What to write: the same cells with labels (.h5ad), or a table of labels (.csv, .tsv, .parquet).
    atlas
        Folder of an atlas, or s3://bucket/prefix. Default: SCIM_ATLAS, else the packaged atlas of blood and pancreas.
    k
        Number of neighbours that vote.
    weights
        How neighbours vote: balanced between types and studies, by distance, or each alike.
    allow
        Label that may vote, with those below it in the Cell Ontology; repeat for more. Default: all.
    block
        Label that may not vote; repeat for more.
    where
        Only cells of the atlas that pass vote, as "study == 'pbmc3k'".
    groupby
        Column of obs: its groups get labels too.
    level
        What may be said: "label" for labels of the atlas only, or a term of the Cell Ontology; repeat for more. A
        number of steps below its root. Default: the most specific term that is probable enough.
    max_error
        Share of the answers that may be wrong (0 to 1); others are left unknown.
    max_distance
        Beyond this cosine distance to its nearest neighbour a cell is unknown.
    duplicates
        collapse lets a cell that is in the atlas several times vote once, keep lets each copy vote.
    layer
        Layer with the counts, "X" or "raw". Default: found.
    gene_key
        Column of var with the gene names. Default: found.
    species
        Whose genes they are; those of a mouse are read as their human orthologs.
    overwrite
        Replace the output if it exists.
    """
    from scim import tl

    check_output(output, (".h5ad", ".csv", ".tsv", ".parquet"), overwrite=overwrite)
    adata = _cells(query, groupby)
    tl.embed(adata, atlas, layer=layer, gene_key=gene_key, species=species)
    tl.annotate(
        adata,
        atlas,
        k=k,
        weights=weights,
        allow=allow,
        block=block,
        where=where,
        groupby=groupby,
        level=_level(level),
        max_error=max_error,
        max_distance=max_distance,
        duplicates=duplicates,
    )
    if output.suffix == ".h5ad":
        write_cells(adata, output)
    else:
        write_table(_labels(adata), output)
    print(label_table(adata).to_string(index=False))
    print(f"\nwrote {output}")


def _cells(query: Path, groupby: str | None) -> AnnData:
    """Read the cells, and refuse a column that they lack before they are embedded."""
    adata = read_cells(query)
    if groupby is not None:
        check_obs_key(adata, groupby)
    return adata


def _level(given: list[str] | None) -> str | int | list[str] | None:
    if given is None or len(given) > 1:
        return given
    return int(given[0]) if given[0].isdigit() else given[0]


def search(
    query: Path,
    /,
    *,
    output: Output,
    atlas: str | None = None,
    groupby: str | None = None,
    k: int = 50,
    where: str | None = None,
    max_distance: float | None = None,
    duplicates: Duplicates = "collapse",
    columns: list[str] | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    species: SpeciesName = "human",
    overwrite: bool = False,
) -> None:
    """Find the cells of an atlas that are most like those of a file.

    Example: scim search query.h5ad -o hits.csv --groupby leiden --k 1000 --where "study != 'pbmc3k'"

    Parameters
    ----------
    query
        Cells: an .h5ad, .zarr or 10x .h5 file with counts and gene symbols, human ones or --species mouse, or
        human Ensembl ids.
    output
        What to write: a table with a row for each hit (.csv, .tsv, .parquet), or the cells with their hits (.h5ad).
    atlas
        Folder of an atlas, or s3://bucket/prefix. Default: SCIM_ATLAS, else the packaged atlas of blood and pancreas.
    groupby
        Column of obs: one search for each of its groups. Default: one for each cell.
    k
        Number of hits for each query.
    where
        Only cells of the atlas that pass are found, as "tissue in ['lung', 'blood'] and not age < 30".
    max_distance
        Leave out cells farther away than this cosine distance (0 to 2).
    duplicates
        collapse finds a cell that is in the atlas several times once, keep finds each copy.
    columns
        Columns of the atlas to add to the table. Default: all.
    layer
        Layer with the counts, "X" or "raw". Default: found.
    gene_key
        Column of var with the gene names. Default: found.
    species
        Whose genes they are; those of a mouse are read as their human orthologs.
    overwrite
        Replace the output if it exists.
    """
    from scim import get, tl

    check_output(output, (".csv", ".tsv", ".parquet", ".h5ad"), overwrite=overwrite)
    adata = _cells(query, groupby)
    tl.embed(adata, atlas, layer=layer, gene_key=gene_key, species=species)
    tl.search(
        adata,
        atlas,
        groupby=groupby,
        k=k,
        where=where,
        max_distance=max_distance,
        duplicates=duplicates,
        layer=layer,
        gene_key=gene_key,
    )
    if output.suffix == ".h5ad":
        write_cells(adata, output)
    else:
        write_table(get.hits(adata, columns), output)
    composition = get.composition(adata, "label").head(12)
    print(composition.assign(share=composition["share"].round(3)).to_string(index=False))
    print(f"\nwrote {output}")


def label_table(adata: AnnData) -> pd.DataFrame:
    """Return how many cells got each label, and how surely."""
    labels = adata.obs["scim_label"].astype(object).fillna("(unknown)")
    confidence = adata.obs["scim_label_confidence"].groupby(labels).mean().round(2)
    table: pd.DataFrame = labels.value_counts().rename("cells").to_frame()
    table["share"] = (table["cells"] / adata.n_obs).round(3)
    table["mean confidence"] = confidence.reindex(table.index)
    return table.rename_axis("label").reset_index()


def _labels(adata: AnnData) -> pd.DataFrame:
    columns = [column for column in adata.obs if str(column).startswith("scim_label")]
    labels: pd.DataFrame = adata.obs[columns]
    return labels.rename_axis("cell").reset_index()
