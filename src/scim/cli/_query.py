"""Define `scim annotate` and `scim search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from scim._core import Duplicates, Weights, check_obs_key
from scim.cli._atlas import GeneKey, Layer, Overwrite, Species, UriOrDefault  # noqa: TC001  (as above)
from scim.cli._files import check_output, read_cells, write_cells, write_table

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

Output = Annotated[Path, Parameter(name=["--output", "-o"])]
_CELLS = "An .h5ad, .zarr or 10x .h5 file with counts, and gene symbols (human, or --species mouse) or Ensembl ids."
Query = Annotated[Path, Parameter(help=_CELLS)]
Where = Annotated[str | None, Parameter(help="Filter of the cells of the atlas, such as \"study != 'pbmc3k'\".")]
_COPIES = "collapse counts duplicate cells of the atlas once, keep counts each of them."
DuplicateCells = Annotated[Duplicates, Parameter(help=_COPIES)]


def annotate(
    query: Query,
    /,
    *,
    output: Output,
    atlas: UriOrDefault = None,
    k: int = 50,
    weights: Weights = "balanced",
    allow: list[str] | None = None,
    block: list[str] | None = None,
    where: Where = None,
    groupby: str | None = None,
    level: list[str] | None = None,
    tissue: list[str] | None = None,
    expression: bool = True,
    max_error: float = 0.1,
    max_distance: float = 2.0,
    duplicates: DuplicateCells = "collapse",
    layer: Layer = None,
    gene_key: GeneKey = None,
    species: Species = "human",
    overwrite: Overwrite = False,
) -> None:
    """Label the cells of a file.

    Finds the counts, embeds the cells with the model of the atlas, and transfers labels of their nearest neighbours.

    Example: scim annotate query.h5ad -o labelled.h5ad --atlas my.scim

    Parameters
    ----------
    output
        What to write: the same cells with labels (.h5ad), or a table of labels (.csv, .tsv, .parquet).
    k
        Number of neighbours.
    weights
        Weights of the neighbours: balanced between types and studies, by distance, or uniform.
    allow
        Label to transfer, with its descendants in the Cell Ontology; repeat for more. Default: all.
    block
        Label not to transfer; repeat for more.
    groupby
        Column of obs: its groups get labels too.
    level
        Allowed terms: "label" for labels of the atlas only, a term of the Cell Ontology (repeat for more), or a number
        of steps below its root. Default: the most specific term that is probable enough.
    tissue
        Tissue of the cells, as the atlas names it (repeat for more): labels of other tissues weigh less.
    expression
        Use the expression of the genes beside the embedding, where the atlas has statistics of it.
    max_error
        Share of the labels that may be wrong (0 to 1); less certain cells are left unknown.
    max_distance
        Beyond this cosine distance to its nearest neighbour a cell is unknown.
    """
    from scim import tl

    check_output(output, overwrite=overwrite)
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
        tissue=tissue,
        expression=expression,
        max_error=max_error,
        max_distance=max_distance,
        duplicates=duplicates,
    )
    if output.suffix == ".h5ad":
        write_cells(adata, output)
    else:
        write_table(adata.obs.filter(regex="^scim_label").rename_axis("cell").reset_index(), output)
    print(label_table(adata).to_string(index=False))
    print(f"\nwrote {output}")


def _cells(query: Path, groupby: str | None) -> AnnData:
    """Read the cells; refuse a missing column before they are embedded."""
    adata = read_cells(query)
    if groupby is not None:
        check_obs_key(adata, groupby)
    return adata


def _level(given: list[str] | None) -> str | int | list[str] | None:
    if given is None or len(given) > 1:
        return given
    return int(given[0]) if given[0].isdigit() else given[0]


def search(
    query: Query,
    /,
    *,
    output: Output,
    atlas: UriOrDefault = None,
    groupby: str | None = None,
    k: int = 50,
    where: Where = None,
    max_distance: float | None = None,
    duplicates: DuplicateCells = "collapse",
    columns: list[str] | None = None,
    layer: Layer = None,
    gene_key: GeneKey = None,
    species: Species = "human",
    overwrite: Overwrite = False,
) -> None:
    """Find the cells of an atlas that are most similar to those of a file.

    Example: scim search query.h5ad -o hits.csv --groupby leiden --k 1000 --where "study != 'pbmc3k'"

    Parameters
    ----------
    output
        What to write: a table with a row for each hit (.csv, .tsv, .parquet), or the cells with their hits (.h5ad).
    groupby
        Column of obs: one search for each of its groups. Default: one for each cell.
    k
        Number of hits for each query.
    max_distance
        Leave out cells farther away than this cosine distance (0 to 2).
    columns
        Columns of the atlas to add to the table. Default: all.
    """
    from scim import get, tl

    check_output(output, overwrite=overwrite)
    adata = _cells(query, groupby)
    tl.embed(adata, atlas, layer=layer, gene_key=gene_key, species=species)
    tl.search(adata, atlas, groupby=groupby, k=k, where=where, max_distance=max_distance, duplicates=duplicates)
    if output.suffix == ".h5ad":
        write_cells(adata, output)
    else:
        write_table(get.hits(adata, columns), output)
    composition = get.composition(adata, "label").head(12)
    print(composition.assign(share=composition["share"].round(3)).to_string(index=False))
    print(f"\nwrote {output}")


def label_table(adata: AnnData) -> pd.DataFrame:
    """Return the number of cells, share, mean confidence and mean novelty of each label."""
    labels = adata.obs["scim_label"].astype(object).fillna("(unknown)")
    table: pd.DataFrame = labels.value_counts().rename("cells").to_frame()
    table["share"] = (table["cells"] / adata.n_obs).round(3)
    for name in ("confidence", "novelty"):
        table[f"mean {name}"] = adata.obs[f"scim_label_{name}"].groupby(labels).mean().round(2).reindex(table.index)
    return table.rename_axis("label").reset_index()
