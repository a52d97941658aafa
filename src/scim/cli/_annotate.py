"""Define `scim annotate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scim._core import Weights  # noqa: TC001  (cyclopts reads the types of parameters when it runs)
from scim.cli._files import check_output, read_cells
from scim.cli._options import (  # noqa: TC001  (as above)
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

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_DIGITS = 4  # of a number of steps in the Cell Ontology


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
    statistics: bool = False,
    duplicates: DuplicateCells = "collapse",
    layer: Layer = None,
    transform: Transformed = None,
    gene_key: GeneKey = None,
    species: Species = "human",
    spreadsheet: Spreadsheet = False,
    overwrite: Overwrite = False,
) -> None:
    """Label the cells of a file.

    Finds the counts, embeds the cells with the model of the atlas, and transfers labels of their nearest neighbours.

    Example: scim annotate query.h5ad -o labelled.h5ad --atlas my.scim

    Parameters
    ----------
    output
        What to write: the same cells with labels (.h5ad, .zarr), or a table of labels (.csv, .tsv, .parquet).
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
    statistics
        Write the statistics of the neighbours too: hits of each label, counted and weighted, and their distances.
    """
    from scim import get, tl

    check_output(output, overwrite=overwrite, inputs=[query])
    adata = read_cells(query, groupby)
    arguments: dict[str, Any] = {"k": k, "weights": weights, "allow": allow, "block": block, "where": where}
    arguments |= {"level": _level(level), "tissue": tissue, "max_error": max_error, "max_distance": max_distance}
    arguments |= {"duplicates": duplicates}
    try_on_one_cell(tl.annotate, atlas, **arguments)
    tl.embed(adata, atlas, layer=layer, transform=transform, gene_key=gene_key, species=species)
    tl.annotate(adata, atlas, groupby=groupby, expression=expression, statistics=statistics, **arguments)
    write_result(adata, output, lambda: get.annotation(adata).rename(columns=_column), spreadsheet=spreadsheet)
    show_table(label_table(adata))
    if groupby is not None:
        show()
        show_table(group_table(adata))
    show()
    show(f"wrote {output}")


def _level(given: list[str] | None) -> str | int | list[str] | None:
    if given is None or len(given) > 1:
        return given
    return int(given[0]) if given[0].isdecimal() and len(given[0]) < _DIGITS else given[0]


def label_table(adata: AnnData) -> pd.DataFrame:
    """Return the number of cells, share, mean confidence and mean novelty of each label."""
    labels = adata.obs["scim_label"].astype(object).fillna("(unknown)")
    table: pd.DataFrame = labels.value_counts().rename("cells").to_frame()
    table["share"] = (table["cells"] / adata.n_obs).round(3)
    for name in ("confidence", "novelty"):
        table[f"mean {name}"] = adata.obs[f"scim_label_{name}"].groupby(labels).mean().round(2).reindex(table.index)
    return table.rename_axis("label").reset_index()


def group_table(adata: AnnData) -> pd.DataFrame:
    """Return the label of each group, its share, its confidence, the runner-up, and the share of novel cells."""
    groups = adata.uns["scim_label"]["groups"]
    columns = ["group", "n_cells", "label", "confidence", "share", "runner_up", "runner_up_share", "mixed", "novel"]
    table: pd.DataFrame = groups[columns].rename(columns=lambda name: name.removeprefix("n_").replace("_", " "))
    for name, empty in (("label", "(unknown)"), ("runner up", "")):
        table[name] = table[name].astype(object).fillna(empty)
    return table.round(2)


def _column(name: str) -> str:
    """Return the name of a column of obs, as `tl.annotate` writes it, of one of the frame."""
    return {"cell": "cell", "label": "scim_label", "label_id": "scim_label_id"}.get(name, f"scim_label_{name}")
