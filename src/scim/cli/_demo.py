"""Define `scim demo`: embed, annotate and search cells that come with scanpy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scim.cli._files import write_cells
from scim.cli._query import label_table

if TYPE_CHECKING:
    from anndata import AnnData


def demo(output: Path = Path("scim-demo")) -> None:
    """Embed, annotate and search 700 blood cells with the packaged atlas; needs no files and no network.

    Parameters
    ----------
    output
        Folder for the annotated cells and two pictures.
    """
    from scim import datasets, tl

    adata = datasets.pbmc68k()
    tl.embed(adata)
    tl.annotate(adata)
    tl.search(adata, groupby="bulk_labels", k=100)
    print(f"{adata.n_obs} cells of scanpy's pbmc68k_reduced, labelled with the packaged atlas:\n")
    print(label_table(adata).to_string(index=False))
    print(f"\n{_agreement(adata)}")
    _write(adata, output)


def _agreement(adata: AnnData) -> str:
    from scim import ontology

    names = ["B cell", "T cell", "natural killer cell", "monocyte", "dendritic cell", "hematopoietic precursor cell"]
    short = {"natural killer cell": "NK cell", "hematopoietic precursor cell": "CD34+ cell"}
    ids = adata.obs["scim_label_id"].astype(object)
    level_1 = {}
    for term in ids.dropna().unique():
        above = [name for name in names if ontology.term_id(name) in ontology.ancestors(term) | {term}]
        level_1[term] = short.get(above[0], above[0]) if above else "other"
    same = (ids.map(level_1) == adata.obs["bulk_level_1"].astype(object)).mean()
    return f"At the level B / T / NK / monocyte / dendritic / CD34+, {same:.0%} agree with the authors' bulk labels."


def _write(adata: AnnData, output: Path) -> None:
    from scim import pl

    output.mkdir(parents=True, exist_ok=True)
    write_cells(adata, output / "pbmc68k_annotated.h5ad")
    pictures = {"labels": pl.labels(adata), "composition": pl.composition(adata, by=["query", "label"])}
    for name, figure in pictures.items():
        if figure is not None:
            figure.savefig(output / f"{name}.png", dpi=150)
    written = ["pbmc68k_annotated.h5ad", *(f"{name}.png" for name in pictures)]
    print("\nwrote " + ", ".join(str(output / name) for name in written))
