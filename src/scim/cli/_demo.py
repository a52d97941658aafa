"""Define `scim demo`: embed, annotate and search cells that come with scanpy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scim.cli._files import write_cells
from scim.cli._query import label_table

if TYPE_CHECKING:
    from anndata import AnnData

_BLOOD = {"blood", "bone marrow", "lymph node", "spleen", "thymus", "tonsil"}


def demo(output: Path = Path("scim-demo")) -> None:
    """Embed, annotate and search 700 blood cells with the packaged atlas; needs no files and no network.

    Annotates them again without the blood and lymphoid organs of the atlas, as cells of a tissue that it lacks.

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
    print(f"\n{_without_blood(adata)}")
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


def _without_blood(adata: AnnData) -> str:
    """Return what scim says of the same cells if the atlas has neither blood nor lymphoid organs."""
    import scim

    with scim.atlas.open(scim.atlas.PACKAGED) as atlas:
        tissues = atlas.obs(columns=["tissue"])["tissue"].dropna().unique()
        left = sorted(set(tissues) - _BLOOD)
        cells = adata.copy()
        scim.tl.annotate(cells, atlas, where=f"tissue in {left!r}", key_added="without_blood")
    labels, novelty = cells.obs["without_blood"], cells.obs["without_blood_novelty"]
    most = labels.value_counts().head(3)
    answered = ", ".join(f"{name} {n}" for name, n in most[most > 0].items())
    return (
        f"The same cells, if the atlas has no blood and no lymphoid organ but only {', '.join(left)}:\n"
        f"{labels.isna().mean():.0%} are unknown, mean novelty {novelty.mean():.2f}"
        f" (with blood: {adata.obs['scim_label'].isna().mean():.0%}, {adata.obs['scim_label_novelty'].mean():.2f})"
        + (f"; most frequent labels: {answered}." if answered else ".")
    )


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
