"""Define `scim model ...`: train a model, and evaluate one on studies left out."""

from __future__ import annotations

import contextlib
from pathlib import Path  # noqa: TC003  (cyclopts reads the types of parameters when it runs)
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from scim.cli._files import TABLES, check_output, check_place, check_writable
from scim.cli._options import (  # noqa: TC001  (as above)
    GeneKey,
    Layer,
    Output,
    Overwrite,
    Seed,
    Spreadsheet,
    Transformed,
)
from scim.cli._tables import show, show_table, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Labels = Annotated[
    str, Parameter(help="Column of obs with the cell types: names or ids of the Cell Ontology, or words.")
]
_STUDY = "Column of obs with the study or donor of each cell. Default: each file is a study."
StudyKey = Annotated[str | None, Parameter(help=_STUDY)]
_CONFIG = "config.json"
_SCORES = ["study", "n_cells", "accuracy", "macro_f1", "macro_f1_ontology", "unknown", "confidence"]

app = App(name="model", help="Train a model of your own studies, and evaluate one on studies left out.")


@app.command
def train(
    *files: Path,
    output: Output,
    label_key: Labels,
    study_key: StudyKey = None,
    validation: list[str] | None = None,
    recipe: Literal["scim", "paper"] = "scim",
    objective: str | None = None,
    n_steps: int | None = None,
    n_members: int | None = None,
    batch_size: int | None = None,
    n_genes: int | None = None,
    latent_dim: int | None = None,
    checkpoint: Path | None = None,
    layer: Layer = None,
    transform: Transformed = None,
    gene_key: GeneKey = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Train a model in which cells of a type are near each other, whatever study they come from.

    With --checkpoint, the same command resumes after an interruption.

    Example: scim model train a.h5ad b.h5ad -o my_model --label-key cell_type

    Parameters
    ----------
    files
        Labelled cells with counts: .h5ad or .zarr files, or folders of atlases that store counts.
    output
        Folder of the model, as "scim atlas create --model" takes it.
    validation
        Study that is held out (repeat for more): the weights that label it best are kept.
    recipe
        The settings of scim, or those of the SCimilarity paper, which are made for millions of cells.
    objective
        The loss, such as prototypes, triplet or lda. Default: that of the recipe.
    n_steps
        Number of batches.
    n_members
        Number of encoders that are trained and merged into one.
    batch_size
        Cells in a batch.
    n_genes
        Number of marker genes that are chosen for the model.
    latent_dim
        Length of an embedding.
    checkpoint
        Folder for the state of the training.
    """
    from scim.model import ModelConfig, TrainConfig
    from scim.model import train as train_model

    check_place(output, overwrite=overwrite, inputs=files)
    _check_replaced(output)
    if checkpoint is not None:
        _check_checkpoint(checkpoint)
    training: dict[str, Any] = {"objective": objective, "n_steps": n_steps, "n_members": n_members}
    training |= {"batch_size": batch_size, "layer": layer, "transform": transform, "gene_key": gene_key}
    sizes: dict[str, Any] = {"n_genes": n_genes, "latent_dim": latent_dim}
    is_paper = recipe == "paper"
    config = (TrainConfig.paper if is_paper else TrainConfig)(**_given(training))
    net = (ModelConfig.paper if is_paper else ModelConfig)(**_given(sizes))
    arguments: dict[str, Any] = {"config": config, "model": net, "checkpoint": checkpoint, "rng": seed}
    with _opened(files) as data:
        model = train_model(data, label_key=label_key, study_key=study_key, validation=validation or (), **arguments)
    model.name = output.name
    model.save(output, overwrite=overwrite)
    studies = len(model.metadata["studies"])
    show(f"wrote {output}: {model.metadata['n_cells']:,} cells, {len(model.labels)} labels, {studies} studies")


@app.command
def evaluate(
    model: Path,
    /,
    *files: Path,
    label_key: Labels,
    study_key: StudyKey = None,
    leave_out: list[str] | None = None,
    levels: list[str] | None = None,
    k: int = 50,
    max_error: float = 0.1,
    robustness: bool = False,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    table: Literal["studies", "labels", "confusion", "robustness"] = "studies",
    layer: Layer = None,
    transform: Transformed = None,
    gene_key: GeneKey = None,
    seed: Seed = 0,
    spreadsheet: Spreadsheet = False,
    overwrite: Overwrite = False,
) -> None:
    """Leave studies out one by one, label them from the others, and compare with their true labels.

    Example: scim model evaluate my_model a.h5ad b.h5ad c.h5ad --label-key cell_type

    Parameters
    ----------
    model
        Folder of the model.
    files
        Labelled cells with counts, of two studies or more: .h5ad or .zarr files, or folders of atlases.
    leave_out
        Study to leave out; repeat for more. Default: every study in turn.
    levels
        Term of the Cell Ontology to which labels are rolled up before they are compared; repeat for more.
    k
        Number of neighbours.
    max_error
        Share of the labels that may be wrong (0 to 1); less certain cells are left unknown.
    robustness
        Label the cells again with genes and counts taken away.
    output
        Table to write (.csv, .tsv, .parquet). Default: only the scores of the studies are shown.
    table
        Which table: scores by study, or by label; pairs of true and predicted labels; or the robustness.
    """
    from scim.model import evaluate as evaluate_model
    from scim.model import load

    if output is not None:
        check_output(output, overwrite=overwrite, kinds=TABLES, inputs=[model, *files])
    loaded = load(model)
    places: dict[str, Any] = {"layer": layer, "transform": transform, "gene_key": gene_key, "rng": seed}
    rules: dict[str, Any] = {"k": k, "max_error": max_error, "levels": levels or (), "robustness": robustness}
    with _opened(files) as data:
        left_out: Any = leave_out or "study"
        found = evaluate_model(
            loaded, data, label_key=label_key, study_key=study_key, leave_out=left_out, **rules, **places
        )
    show_table(found.studies[_SCORES].round(3))
    show()
    show(repr(found))
    known = sorted(set(found.studies["study"]) & set(loaded.metadata.get("studies", ())))
    if known:
        show(f"The model was trained on {', '.join(known)}: on studies that it has not seen, scores are lower.")
    if output is not None:
        write_table(getattr(found, table), output, spreadsheet=spreadsheet)
        show()
        show(f"wrote {output}")


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _check_checkpoint(folder: Path) -> None:
    """Refuse a folder that is a file, or cannot be made, before the training."""
    if folder.is_file():
        msg = f"--checkpoint {folder} is a file; expected a folder."
        raise FileExistsError(msg)
    while not folder.absolute().parent.is_dir():
        folder = folder.absolute().parent
    check_writable(folder)


def _check_replaced(folder: Path) -> None:
    """Refuse to replace what is no model, before the training."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / _CONFIG).exists()):
        msg = f"{folder} is not replaced: it is no model. Name another."
        raise FileExistsError(msg)


@contextlib.contextmanager
def _opened(files: Sequence[Path]) -> Iterator[list[Any]]:
    """Yield the files, folders of atlases opened."""
    import scim

    if not files:
        msg = "Expected one or more .h5ad or .zarr files, or folders of atlases."
        raise ValueError(msg)
    with contextlib.ExitStack() as stack:
        is_atlas = [(file / "atlas.json").exists() for file in files]
        yield [
            stack.enter_context(scim.atlas.open(file)) if of_atlas else file
            for file, of_atlas in zip(files, is_atlas, strict=True)
        ]
