"""Define `scim demo`: embed, annotate and search cells that come with scanpy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scim.cli._annotate import label_table
from scim.cli._files import check_place, write_cells
from scim.cli._options import Overwrite  # noqa: TC001  (cyclopts reads the types of parameters when it runs)
from scim.cli._tables import show, show_table
from scim.io import new_path

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_CELLS, _PICTURES = "pbmc68k_annotated.h5ad", ("labels", "composition")
_FILES = [_CELLS, *(f"{name}.png" for name in _PICTURES)]
_BLOOD = ["blood", "lymph node", "spleen", "tonsil"]
_LEVEL_1 = {
    "B cell": "lymphocyte of B lineage",  # the authors' B cells include plasma cells
    "T cell": "T cell",
    "NK cell": "natural killer cell",
    "monocyte": "monocyte",
    "dendritic cell": "dendritic cell",
    "CD34+ cell": "hematopoietic precursor cell",
}
"""Term of the Cell Ontology of each coarse label of the authors."""


def demo(output: Path = Path("scim-demo"), *, overwrite: Overwrite = False) -> None:
    """Embed, annotate and search 700 blood cells with the packaged atlas; needs no files and no network.

    Annotates them again without the blood and lymphoid organs of the atlas, as cells of a tissue that it lacks, and
    without all of its blood cells, as cells of types that it lacks.

    Parameters
    ----------
    output
        Folder for the annotated cells and two pictures.
    """
    from scim import datasets, tl

    _check_folder(output, overwrite=overwrite)
    adata = datasets.pbmc68k()
    tl.embed(adata)
    tl.annotate(adata)
    tl.search(adata, groupby="bulk_labels", k=100)
    show(f"{adata.n_obs} cells of scanpy's pbmc68k_reduced, labelled with the packaged atlas:")
    show()
    show_table(label_table(adata))
    agree, broader = _agreement(adata)
    show()
    show(f"At the level B / T / NK / monocyte / dendritic / CD34+, {agree:.0%} agree with the authors' bulk labels,")
    show(f"and {broader:.0%} have a broader label.")
    show()
    show("The same cells, with parts of the atlas:")
    show()
    show_table(_with_parts(adata))
    _write(adata, output)


def _check_folder(folder: Path, *, overwrite: bool) -> None:
    """Make the folder, and refuse one that cannot be made or written, before any work."""
    new_path(folder, what="the results")
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is a file; expected a folder for the results."
        raise FileExistsError(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{folder} cannot be made: {error.strerror}. Name another folder."
        raise OSError(msg) from error
    for name in _FILES:
        check_place(folder / name, overwrite=overwrite)


def _agreement(adata: AnnData) -> tuple[float, float]:
    """Return the share of cells with the authors' coarse label or one below it, and with one above it."""
    from scim import ontology

    pairs = adata.obs[["scim_label_id", "bulk_level_1"]].astype(object).dropna().value_counts()
    agree = broader = 0
    for (label_id, given), n_cells in pairs.items():
        term = ontology.term_id(_LEVEL_1[given])
        agree += n_cells * (label_id in ontology.descendants(term) | {term})
        broader += n_cells * (label_id in ontology.ancestors(term))
    return agree / adata.n_obs, broader / adata.n_obs


def _with_parts(adata: AnnData) -> pd.DataFrame:
    """Return what is predicted for the same cells from all of the atlas, and without its blood or its blood cells."""
    import pandas as pd

    from scim import tl

    parts = {
        "all": adata,
        "no blood, no lymphoid organ": tl.annotate(adata, where=f"tissue not in {_BLOOD!r}", copy=True),
        "no blood cell of any tissue": tl.annotate(adata, block="hematopoietic cell", copy=True),
    }
    rows = []
    for name, cells in parts.items():
        agree, broader = _agreement(cells)
        unknown, novelty = cells.obs["scim_label"].isna().mean(), cells.obs["scim_label_novelty"].mean()
        rows.append([name, *(f"{share:.0%}" for share in (agree, broader, unknown)), f"{novelty:.2f}"])
    return pd.DataFrame(rows, columns=["atlas", "agree", "broader", "unknown", "mean novelty"])


def _write(adata: AnnData, output: Path) -> None:
    from scim import pl

    write_cells(adata, output / _CELLS)
    figures = pl.labels(adata), pl.composition(adata, by=["query", "label"])
    for name, figure in zip(_PICTURES, figures, strict=True):
        if figure is not None:
            figure.savefig(output / f"{name}.png", dpi=150)
    show()
    show("wrote " + ", ".join(str(output / name) for name in _FILES))
