"""Define `scim embed` and `scim explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scim._core import keys
from scim.cli._files import CELLS, check_output, read_cells, whole_file, write_cells
from scim.cli._options import (  # noqa: TC001  (cyclopts reads the types of parameters when it runs)
    GeneKey,
    Layer,
    ModelFolder,
    Output,
    Overwrite,
    Query,
    Seed,
    Species,
    Spreadsheet,
    Transformed,
    UriOrDefault,
)
from scim.cli._tables import show, write_result

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

_ROWS = ".npy"


def embed(
    query: Query,
    /,
    *,
    output: Output,
    atlas: UriOrDefault = None,
    model: ModelFolder = None,
    layer: Layer = None,
    transform: Transformed = None,
    gene_key: GeneKey = None,
    species: Species = "human",
    overwrite: Overwrite = False,
) -> None:
    """Embed the cells of a file with the model of an atlas.

    Example: scim embed query.h5ad -o embedded.h5ad

    Parameters
    ----------
    output
        What to write: the same cells with the embedding in obsm["X_scim"] (.h5ad, .zarr), or its rows alone (.npy).
    """
    from scim import tl

    check_output(output, overwrite=overwrite, kinds=(*CELLS, _ROWS), inputs=[query])
    adata = read_cells(query)
    tl.embed(adata, atlas, model=model, layer=layer, transform=transform, gene_key=gene_key, species=species)
    if output.suffix == _ROWS:
        _write_rows(adata, output)
    else:
        write_cells(adata, output)
    n_cells, dim = adata.obsm[keys.EMBEDDING].shape
    show(f"wrote {output}: {n_cells:,} cells, {dim} dimensions")


def _write_rows(adata: AnnData, path: Path) -> None:
    import numpy as np

    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, adata.obsm[keys.EMBEDDING], allow_pickle=False)


def explain(
    query: Query,
    /,
    *,
    output: Output,
    groupby: str = keys.LABEL,
    groups: list[str] | None = None,
    reference: str = "rest",
    atlas: UriOrDefault = None,
    model: ModelFolder = None,
    n_pairs: int = 200,
    n_steps: int = 20,
    top: int | None = None,
    seed: Seed = 0,
    layer: Layer = None,
    transform: Transformed = None,
    gene_key: GeneKey = None,
    species: Species = "human",
    spreadsheet: Spreadsheet = False,
    overwrite: Overwrite = False,
) -> None:
    """Find the genes by which the model separates groups of cells of a file.

    Example: scim explain labelled.h5ad -o genes.csv --groupby scim_label --groups "B cell"

    Parameters
    ----------
    output
        What to write: a table with a row for each group and gene (.csv, .tsv, .parquet), or the cells (.h5ad, .zarr).
    groupby
        Column of obs with the groups. Default: the labels that "scim annotate" writes.
    groups
        Group to explain; repeat for more. Default: all.
    reference
        What the groups are compared with: one of them, or rest, all other types with equal weight.
    n_pairs
        Number of pairs of cells for each group.
    n_steps
        Number of points on the path between the cells of a pair at which gradients are taken.
    top
        Number of genes of each group in the table. Default: all that were measured.
    """
    from scim import get, tl

    check_output(output, overwrite=overwrite, inputs=[query])
    adata = read_cells(query, None if groupby == keys.LABEL else groupby)
    arguments: dict[str, Any] = {"groupby": groupby, "groups": groups, "reference": reference, "n_pairs": n_pairs}
    arguments |= {"n_steps": n_steps, "layer": layer, "transform": transform, "gene_key": gene_key, "species": species}
    tl.explain(adata, atlas, model=model, rng=seed, **arguments)
    write_result(adata, output, lambda: get.attribution(adata, top=top), spreadsheet=spreadsheet)
    for group, genes in get.attribution(adata, top=8).groupby("group", sort=False):
        show(f"{group}: {', '.join(genes['gene'])}")
    show()
    show(f"wrote {output}")
