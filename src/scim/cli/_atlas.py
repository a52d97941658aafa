"""`scim atlas create | append | index | info`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (cyclopts reads the types of parameters when it runs)
from typing import TYPE_CHECKING, Any

from cyclopts import App

from scim._core.types import IndexKind  # noqa: TC001  (cyclopts reads it)

if TYPE_CHECKING:
    from collections.abc import Mapping

app = App(name="atlas", help="Make, grow and look at atlases.")


@app.command
def info(atlas: Path | None = None, /) -> None:
    """Show what an atlas holds.

    Parameters
    ----------
    atlas
        Folder of an atlas. Default: SCIM_ATLAS, else the packaged atlas of blood and pancreas.
    """
    import scim

    with scim.atlas.open(atlas) as opened:
        facts = opened.info()
    print(f"{facts['path']}: {facts['cells']:,} cells, model {facts['model']}")
    index = facts["index"]
    print(f"index:   {index['folder']}, {index['cells']:,} cells" if index else "index:   none; run scim atlas index")
    print(f"columns: {', '.join(facts['columns'])}")
    print(f"bytes:   {', '.join(f'{part} {size / 1e6:.1f} MB' for part, size in facts['bytes'].items())}")
    print(f"\n{_counts('study', facts['studies'])}\n\n{_counts('label', facts['labels'])}")
    if facts["unlabelled"]:
        print(f"\n{facts['unlabelled']:,} cells have no label")


@app.command
def create(atlas: Path, /, *, model: Path, overwrite: bool = False) -> None:
    """Make an atlas without cells.

    Parameters
    ----------
    atlas
        Folder to make.
    model
        Folder of the model that will embed its cells; the "model" folder of another atlas will do.
    overwrite
        Replace the folder if it exists.
    """
    import scim

    with scim.atlas.create(atlas, model=model, overwrite=overwrite) as made:
        print(f"made {made}")


@app.command
def append(
    atlas: Path,
    /,
    *files: Path,
    study: str | None = None,
    study_key: str | None = None,
    label_key: str | None = None,
    columns: tuple[str, ...] = (),
    layer: str | None = None,
    gene_key: str | None = None,
    counts: bool = False,
) -> None:
    """Embed the cells of .h5ad files and add them; then run "scim atlas index".

    Parameters
    ----------
    atlas
        Folder of the atlas.
    files
        One or more .h5ad files.
    study
        Name of the study. Default: the name of each file.
    study_key
        Column of obs with the study, in place of --study.
    label_key
        Column of obs with the cell types.
    columns
        Further columns of obs to keep.
    layer
        Layer with the counts, "X" or "raw". Default: found.
    gene_key
        Column of var with the gene names. Default: found.
    counts
        Store the counts too.
    """
    import scim

    if not files:
        msg = "Expected one or more .h5ad files to append."
        raise ValueError(msg)
    with scim.atlas.open(atlas, mode="w") as opened:
        for file in files:
            name = study if study or study_key else file.stem
            opened.append(
                file,
                study=name,
                study_key=study_key,
                label_key=label_key,
                obs_columns=columns,
                layer=layer,
                gene_key=gene_key,
                counts=counts,
            )
        print(opened)


@app.command
def index(atlas: Path, /, *, kind: IndexKind = "auto", recall: float = 0.99) -> None:
    """Build the search index over all cells of an atlas.

    Parameters
    ----------
    atlas
        Folder of the atlas.
    kind
        exact compares with every cell, ivf and graph with the likely ones; auto chooses by size.
    recall
        Share of the true neighbours that an ivf index is to find: less is faster.
    """
    import scim

    with scim.atlas.open(atlas, mode="w") as opened:
        opened.build_index(kind=kind, recall=recall)
        print(opened)


def _counts(title: str, counts: Mapping[str, Any]) -> str:
    width = max([len(title), *(len(name) for name in counts)])
    return "\n".join([f"{title:<{width}}    cells", *(f"{name:<{width}} {n:>8,}" for name, n in counts.items())])
