"""`scim atlas`: create, append, index, info, verify, remove, reembed, publish, compact, vacuum, from-soma."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (cyclopts reads the types of parameters when it runs)
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from scim._core.types import IndexKind, SpeciesName  # noqa: TC001  (cyclopts reads it)

if TYPE_CHECKING:
    from collections.abc import Mapping

Place = Annotated[str, Parameter(help="Folder of the atlas, or s3://bucket/prefix.")]
Timeout = Annotated[float, Parameter(help="Seconds to wait while another writer is at work.")]

app = App(name="atlas", help="Make, grow, check and look at atlases.")


@app.command
def info(atlas: str | None = None, /, *, at: str | None = None) -> None:
    """Show what an atlas holds.

    Parameters
    ----------
    atlas
        Folder of an atlas, or s3://bucket/prefix. Default: SCIM_ATLAS, else the packaged atlas of blood and pancreas.
    at
        An earlier version: its number, or a time as "2026-05-01 12:00" (UTC).
    """
    import scim

    with scim.atlas.open(atlas, at=int(at) if at is not None and at.isdigit() else at) as opened:
        facts = opened.info()
    print(
        f"{facts['path']}: {_cells(facts['cells'])}" + (f", {facts['removed']:,} removed" if facts["removed"] else "")
    )
    print(f"model:   {facts['model'] or 'none; the embedding was made elsewhere'}, {facts['dim']} dimensions")
    print(f"genes:   {facts['genes']:,}; counts of {_cells(facts['counts'])} stored")
    index = facts["index"]
    parts = "" if index is None else ", ".join(f"{name} {n:,}" for name, n in index["parts"].items())
    print(f"index:   {_cells(index['cells'])} ({parts})" if index else "index:   none; run scim atlas index")
    if facts["draft"]:
        print(f"draft:   model {facts['draft']['model']}, {_cells(facts['draft']['cells'])}")
    print(f"columns: {', '.join(facts['columns'])}")
    print(f"bytes:   {', '.join(f'{part} {size / 1e6:.1f} MB' for part, size in facts['bytes'].items())}")
    print("\nversion  made                      cells")
    for version in facts["versions"]:
        print(f"{version['version']:>7}  {version['made'][:19]}Z  {version['cells']:>9,}  {version['what']}")
    print(f"\n{_counts('study', facts['studies'])}\n\n{_counts('label', facts['labels'])}")
    if facts["unlabelled"]:
        print(f"\n{facts['unlabelled']:,} cells have no label")


@app.command
def create(atlas: Place, /, *, model: Path, overwrite: bool = False) -> None:
    """Make an atlas without cells.

    Parameters
    ----------
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
    atlas: Place,
    /,
    *files: Path,
    study: str | None = None,
    study_key: str | None = None,
    label_key: str | None = None,
    columns: tuple[str, ...] = (),
    layer: str | None = None,
    gene_key: str | None = None,
    species: SpeciesName = "human",
    counts: bool = False,
    on_duplicate: Literal["raise", "skip"] = "raise",
    timeout: Timeout = 10,
) -> None:
    """Embed the cells of files and add them, all or none; an index that covered the atlas covers them too.

    After an interruption, the same command goes on where it stopped.

    Parameters
    ----------
    files
        One or more .h5ad or .zarr files.
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
    species
        Whose genes they are; those of a mouse are read as their human orthologs.
    counts
        Store the counts too; embedding with another model needs them.
    on_duplicate
        What to do with cells that are there already: refuse all, or leave them out.
    """
    import scim

    if not files:
        msg = "Expected one or more .h5ad or .zarr files to append."
        raise ValueError(msg)
    names = [study or file.stem for file in files] if study_key is None else study
    with scim.atlas.open(atlas, mode="w", timeout=timeout) as opened:
        n_new = opened.append(
            list(files),
            study=names,
            study_key=study_key,
            label_key=label_key,
            obs_columns=columns,
            layer=layer,
            gene_key=gene_key,
            species=species,
            counts=counts,
            on_duplicate=on_duplicate,
        )
        print(f"added {_cells(n_new)}: {opened}")


@app.command
def index(atlas: Place, /, *, kind: IndexKind = "auto", recall: float = 0.99, timeout: Timeout = 10) -> None:
    """Build the search index over all cells of an atlas.

    Parameters
    ----------
    kind
        exact compares with every cell, ivf and graph with the likely ones; auto chooses by size.
    recall
        Share of the true neighbours that an ivf index is to find: less is faster.
    """
    import scim

    with scim.atlas.open(atlas, mode="w", timeout=timeout) as opened:
        opened.build_index(kind=kind, recall=recall)
        print(opened)


@app.command
def verify(atlas: Place, /, *, repair: bool = False, timeout: Timeout = 10) -> int:
    """Check every file of an atlas and whether its parts agree; leaves with 1 if something is wrong.

    Parameters
    ----------
    repair
        Mend what can be: undo what was never committed, make anew what is derived from the store.
    """
    import scim

    problems = scim.atlas.verify(atlas, repair=repair, timeout=timeout)
    for problem in problems:
        remedy = " (--repair mends it)" if problem.mendable and not repair else ""
        print(f"{problem.part}: {problem}{remedy}")
    print(f"{atlas}: {len(problems)} problems" if problems else f"{atlas}: all is well")
    return 1 if problems else 0


@app.command
def remove(atlas: Place, /, *, where: str, timeout: Timeout = 10) -> None:
    """Remove cells, as those of a study that was withdrawn.

    They are on disk, and in earlier versions, until "scim atlas compact" and "scim atlas vacuum".

    Parameters
    ----------
    where
        Which cells, as "study == 'pbmc3k'".
    """
    import scim

    with scim.atlas.open(atlas, mode="w", timeout=timeout) as opened:
        print(f"removed {_cells(opened.remove(where))}: {opened}")


@app.command
def reembed(atlas: Place, /, *, model: Path, draft: bool = False, timeout: Timeout = 10) -> None:
    """Embed all cells with another model, from their stored counts, and publish the result.

    Parameters
    ----------
    model
        Folder of the model.
    draft
        Do not publish it yet; "scim atlas publish" does.
    """
    import scim

    with scim.atlas.open(atlas, mode="w", timeout=timeout) as opened:
        opened.reembed(model, publish=not draft)
        print(opened)


@app.command
def publish(atlas: Place, /, *, timeout: Timeout = 10) -> None:
    """Let the draft that "scim atlas reembed --draft" made take the place of the published embedding."""
    import scim

    with scim.atlas.open(atlas, mode="w", timeout=timeout) as opened:
        opened.publish()
        print(opened)


@app.command
def compact(atlas: Place, /, *, vacuum: bool = False, timeout: Timeout = 10) -> None:
    """Write the cells anew in few large files, with one index.

    Parameters
    ----------
    vacuum
        Then delete the old files and the earlier versions.
    """
    import scim

    with scim.atlas.open(atlas, mode="w", timeout=timeout) as opened:
        opened.compact()
        freed = opened.vacuum() if vacuum else 0
        print(f"{opened}, {freed / 1e6:.1f} MB freed" if vacuum else opened)


@app.command
def vacuum(atlas: Place, /, *, timeout: Timeout = 10) -> None:
    """Delete earlier versions, and what only they need."""
    import scim

    with scim.atlas.open(atlas, mode="w", timeout=timeout) as opened:
        print(f"{opened.vacuum() / 1e6:.1f} MB freed")


@app.command
def from_soma(
    experiment: str,
    atlas: Place,
    /,
    *,
    model: Path | None = None,
    measurement: str = "RNA",
    layer: str = "raw",
    where: str | None = None,
    study_key: str = "dataset_id",
    label_key: str = "cell_type_ontology_term_id",
    columns: tuple[str, ...] = (),
    species: SpeciesName = "human",
    counts: bool = False,
    overwrite: bool = False,
) -> None:
    """Make an atlas of cells of a SOMA experiment, as the CELLxGENE Census; after an interruption it goes on.

    Parameters
    ----------
    experiment
        Its folder, as census/census_data/homo_sapiens, or s3://...
    model
        Folder of the model that embeds the cells. Default: that of the default atlas.
    measurement
        Where the counts are, and
    layer
        in which matrix of it.
    where
        Which cells, as "tissue_general == 'lung' and is_primary_data == True".
    study_key
        Column of obs with the study.
    label_key
        Column of obs with the cell types.
    columns
        Further columns of obs to keep. Default: those of the Census.
    species
        Whose genes they are: mouse for census/census_data/mus_musculus.
    counts
        Store the counts too.
    overwrite
        Replace the atlas if it exists.
    """
    import scim

    with scim.atlas.from_soma(
        experiment,
        atlas,
        model=model,
        measurement=measurement,
        layer=layer,
        where=where,
        study_key=study_key,
        label_key=label_key,
        columns=columns or None,
        species=species,
        counts=counts,
        overwrite=overwrite,
    ) as made:
        print(f"made {made}")


def _cells(n: int) -> str:
    return f"{n:,} cell{'' if n == 1 else 's'}"


def _counts(title: str, counts: Mapping[str, Any]) -> str:
    width = max([len(title), *(len(name) for name in counts)])
    return "\n".join([f"{title:<{width}}    cells", *(f"{name:<{width}} {n:>8,}" for name, n in counts.items())])
