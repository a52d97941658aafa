"""Define `scim atlas ...` and `scim import-scimilarity`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (cyclopts reads the types of parameters when it runs)
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App

from scim._core import IndexKind, keys, printable
from scim.cli._options import (  # noqa: TC001  (as above)
    Counts,
    GeneKey,
    LabelKey,
    Layer,
    Overwrite,
    Species,
    Timeout,
    Transformed,
    Uri,
    UriOrDefault,
)
from scim.cli._tables import show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scim.atlas import Atlas

_FEW_CELLS = 30  # of a label: its confidence is calibrated on few

_DIGITS = 19  # of a whole number; a longer text is none that a version has

app = App(name="atlas", help="Make, extend, check and inspect atlases.")


@app.command
def info(atlas: UriOrDefault = None, /, *, at: str | None = None) -> None:
    """Show the cells, model, index, versions, studies, tissues and labels of an atlas.

    Parameters
    ----------
    at
        An earlier version: its number, or a time as "2026-05-01 12:00" (UTC).
    """
    import scim

    with scim.atlas.open(atlas, at=_version(at)) as opened:
        facts, tissue = opened.info(), keys.ATLAS_TISSUE
        tissues = opened.obs(columns=[tissue])[tissue].value_counts().to_dict() if tissue in opened.columns else {}
    removed = f", {facts['removed']:,} removed" if facts["removed"] else ""
    show(f"{facts['path']}: {_cells(facts['cells'])}{removed}")
    show(f"model:   {facts['model'] or 'none; the embedding was made elsewhere'}, {facts['dim']} dimensions")
    show(f"genes:   {facts['genes']:,}; counts of {_cells(facts['counts'])} stored")
    index = facts["index"]
    show(f"index:   {_index_line(index)}" if index else "index:   none; run scim atlas index")
    if facts["draft"]:
        show(f"draft:   model {facts['draft']['model']}, {_cells(facts['draft']['cells'])}")
    show(f"columns: {', '.join(facts['columns'])}")
    show(f"bytes:   {', '.join(f'{part} {size / 1e6:.1f} MB' for part, size in facts['bytes'].items())}")
    show()
    show("version  made                      cells")
    for version in facts["versions"]:
        show(f"{version['version']:>7}  {version['made'][:19]}Z  {version['cells']:>9,}  {version['what']}")
    tables = {"study": facts["studies"], "tissue": tissues, "label": facts["labels"]}
    for title, counts in tables.items():
        if counts:
            show()
            _show_counts(title, counts)
    if few := [name for name, n in facts["labels"].items() if n < _FEW_CELLS]:
        show()
        show(f"labels of fewer than {_FEW_CELLS} cells: {', '.join(few)}")
    if facts["unlabelled"]:
        show()
        show(f"{facts['unlabelled']:,} cells have no label")


@app.command
def create(atlas: Uri, /, *, model: Path, overwrite: Overwrite = False) -> None:
    """Make an atlas without cells.

    Parameters
    ----------
    model
        Folder of the model that will embed its cells, such as the "model" folder of another atlas.
    """
    import scim

    with scim.atlas.create(atlas, model=model, overwrite=overwrite) as made:
        show(f"made {made}")


@app.command
def append(
    atlas: Uri,
    /,
    *files: Path,
    study: str | None = None,
    study_key: str | None = None,
    label_key: LabelKey = None,
    columns: tuple[str, ...] = (),
    layer: Layer = None,
    transform: Transformed = None,
    gene_key: GeneKey = None,
    species: Species = "human",
    counts: Counts = False,
    on_duplicate: Literal["raise", "skip"] = "raise",
    timeout: Timeout = 10,
) -> None:
    """Embed the cells of files and add them, all or none; an index that covered the atlas covers them too.

    After an interruption, the same command resumes.

    Parameters
    ----------
    files
        One or more .h5ad or .zarr files.
    study
        Name of the study. Default: the name of each file.
    study_key
        Column of obs with the study, in place of --study.
    columns
        Further columns of obs to keep.
    on_duplicate
        What to do if the atlas already has some of the cells: refuse all, or leave these out.
    """
    if not files:
        msg = "Expected one or more .h5ad or .zarr files to append."
        raise ValueError(msg)
    names = [study or file.stem for file in files] if study_key is None else study
    with _open_to_write(atlas, timeout) as opened:
        n_new = opened.append(
            list(files),
            study=names,
            study_key=study_key,
            label_key=label_key,
            obs_columns=columns,
            layer=layer,
            transform=transform,
            gene_key=gene_key,
            species=species,
            counts=counts,
            on_duplicate=on_duplicate,
        )
        show(f"added {_cells(n_new)}: {opened}")


@app.command
def index(atlas: Uri, /, *, kind: IndexKind = "auto", recall: float = 0.99, timeout: Timeout = 10) -> None:
    """Build the search index over all cells of an atlas.

    Parameters
    ----------
    kind
        exact compares with every cell, ivf and graph with likely neighbours; auto chooses by size.
    recall
        Share of the true neighbours that an ivf index finds: less is faster.
    """
    with _open_to_write(atlas, timeout) as opened:
        opened.build_index(kind=kind, recall=recall)
        show(repr(opened))


@app.command
def verify(atlas: Uri, /, *, repair: bool = False, timeout: Timeout = 10) -> int:
    """Check every file of an atlas and whether its parts agree; the exit code is 1 if something is wrong.

    Parameters
    ----------
    repair
        Repair what can be: undo what was never committed, rebuild derived data.
    """
    import scim

    problems = scim.atlas.verify(atlas, repair=repair, timeout=timeout)
    for problem in problems:
        remedy = " (--repair repairs it)" if problem.repairable and not repair else ""
        show(f"{problem.part}: {problem}{remedy}")
    show(f"{atlas}: {len(problems)} problems" if problems else f"{atlas}: all is well")
    return 1 if problems else 0


@app.command
def remove(atlas: Uri, /, *, where: str, timeout: Timeout = 10) -> None:
    """Remove cells, such as those of a withdrawn study.

    They stay on disk, and in earlier versions, until "scim atlas compact" and "scim atlas vacuum".

    Parameters
    ----------
    where
        Filter of the cells, such as "study == 'pbmc3k'".
    """
    with _open_to_write(atlas, timeout) as opened:
        show(f"removed {_cells(opened.remove(where))}: {opened}")


@app.command
def reembed(atlas: Uri, /, *, model: Path, draft: bool = False, timeout: Timeout = 10) -> None:
    """Embed all cells with another model, from their stored counts, and publish the result.

    Parameters
    ----------
    model
        Folder of the model.
    draft
        Do not publish it yet; "scim atlas publish" does.
    """
    with _open_to_write(atlas, timeout) as opened:
        opened.reembed(model, publish=not draft)
        show(repr(opened))


@app.command
def publish(atlas: Uri, /, *, timeout: Timeout = 10) -> None:
    """Replace the published embedding by the draft that "scim atlas reembed --draft" made."""
    with _open_to_write(atlas, timeout) as opened:
        opened.publish()
        show(repr(opened))


@app.command
def compact(atlas: Uri, /, *, vacuum: bool = False, timeout: Timeout = 10) -> None:
    """Rewrite the cells in few large files, with one index.

    Parameters
    ----------
    vacuum
        Then delete the old files and the earlier versions.
    """
    with _open_to_write(atlas, timeout) as opened:
        opened.compact()
        freed = opened.vacuum() if vacuum else 0
        show(f"{opened}, {freed / 1e6:.1f} MB freed" if vacuum else repr(opened))


@app.command
def vacuum(atlas: Uri, /, *, timeout: Timeout = 10) -> None:
    """Delete earlier versions, and the files that only they need."""
    with _open_to_write(atlas, timeout) as opened:
        show(f"{opened.vacuum() / 1e6:.1f} MB freed")


@app.command
def from_soma(
    experiment: str,
    atlas: Uri,
    /,
    *,
    model: Path | None = None,
    measurement: str = "RNA",
    layer: str = "raw",
    where: str | None = None,
    study_key: str = "dataset_id",
    label_key: str = "cell_type_ontology_term_id",
    columns: tuple[str, ...] = (),
    species: Species = "human",
    counts: Counts = False,
    overwrite: Overwrite = False,
) -> None:
    """Make an atlas of cells of a SOMA experiment, such as the CELLxGENE Census.

    After an interruption, the same command resumes.

    Parameters
    ----------
    experiment
        Folder of the experiment, such as census/census_data/homo_sapiens, or s3://...
    model
        Folder of the model that embeds the cells. Default: that of the default atlas.
    measurement
        Measurement with the counts.
    layer
        Matrix of the measurement with the counts.
    where
        Filter of the cells, such as "tissue_general == 'lung' and is_primary_data == True".
    study_key
        Column of obs with the study.
    label_key
        Column of obs with the cell types.
    columns
        Further columns of obs to keep. Default: those of the Census.
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
        show(f"made {made}")


def import_scimilarity(
    folder: Path, atlas: Uri, /, *, columns: tuple[str, ...] = (), overwrite: Overwrite = False
) -> None:
    """Make an atlas of a published SCimilarity folder, such as model_v1.1.

    After an interruption, the same command resumes.

    Parameters
    ----------
    folder
        The folder with encoder.ckpt, annotation and cellsearch. Nothing in it is executed or changed.
    columns
        Columns of cellsearch/cell_metadata to keep. Default: all.
    """
    import scim

    with scim.scimilarity.import_atlas(folder, atlas, columns=columns or None, overwrite=overwrite) as made:
        unmapped = [name for name, term in zip(made.labels.names, made.labels.ids, strict=True) if not term]
        if unmapped:
            show(f"not in the Cell Ontology, kept as they are: {', '.join(unmapped)}")
        show(f"made {made}")


def _version(at: str | None) -> int | str | None:
    is_number = at is not None and at.isdecimal() and len(at) < _DIGITS
    return int(at) if at is not None and is_number else at


def _open_to_write(atlas: str, timeout: float) -> Atlas:
    import scim

    return scim.atlas.open(atlas, mode="w", timeout=timeout)


def _index_line(index: Mapping[str, Any]) -> str:
    """Return the cells that can be found, and the rows of the parts; removed cells leave rows until a compaction."""
    parts = ", ".join(f"{name} {n:,}" for name, n in index["parts"].items())
    rows = f" in {index['rows']:,} rows" if index["rows"] != index["cells"] else ""
    return f"{_cells(index['cells'])}{rows} ({parts})"


def _cells(n: int) -> str:
    return f"{n:,} cell{'' if n == 1 else 's'}"


def _show_counts(title: str, counts: Mapping[str, Any]) -> None:
    names = [printable(str(name)) for name in counts]
    width = max([len(title), *map(len, names)])
    show(f"{title:<{width}}    cells")
    for name, n in zip(names, counts.values(), strict=True):
        show(f"{name:<{width}} {n:>8,}")
