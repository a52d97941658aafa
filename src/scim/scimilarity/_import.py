"""A published folder to an atlas, a commit for each step, so that an interrupted import resumes."""

from __future__ import annotations

import contextlib
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scim._core import FormatError, keys, logger, progress, warn
from scim.atlas._import import resume_or_create
from scim.atlas._open import create
from scim.atlas.commit import commits
from scim.atlas.storage import Storage
from scim.io import local_path
from scim.scimilarity import _cells
from scim.scimilarity._cells import PublishedCells

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from scim.atlas._atlas import Atlas


def import_atlas(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Atlas:
    """Make an atlas of a published SCimilarity folder, as `model_v1.1`: its model, its cells, its labels.

    The cells of `cellsearch` come first, in the order of their metadata; labelled cells of `annotation` are found among
    them by their embeddings, and those that are not there follow. Rows are committed 131,072 at a time; after an
    interruption the same call resumes. Nothing in the folder is executed or changed. Its files have no checksums, but
    for the checkpoints: compare the archive that you downloaded with the checksum that was published with it.

    Parameters
    ----------
    folder
        A folder with a model (see :func:`scim.scimilarity.import_model`), and `annotation` or `cellsearch` or both.
        Embeddings are those of the hnswlib file `cellsearch/full_kNN.bin`, else of `cellsearch/cell_embedding`, else of
        an index of TileDB that is called `full_kNN.bin`.
    out
        The atlas to make.
    columns
        Columns of `cellsearch/cell_metadata` to keep, `study` always. Default: all. "NA" is missing, and a column of
        "True" and "False" becomes boolean. A name that the atlas uses itself gets the prefix `metadata_`, and so does
        `index` where it is not the number of the row.
    overwrite
        Whether to replace what is at `out`.

    Returns
    -------
    The atlas, open for writing. Its obs has the columns of every atlas, those of the metadata, and

    `cell_id` : str
        The row of the metadata, or `annotation-` and the line for a cell that has no row.
    `in_cellsearch`, `in_annotation` : bool
        Which index a cell comes from. The cells of `annotation` are the labelled reference cells.
    `reference_label` : str
        The label as it stands in the folder; `label` is its name in the current Cell Ontology.
    `annotation_index` : int64
        Its line in `reference_labels.tsv`.

    Raises
    ------
    FileNotFoundError, FormatError
        The folder does not exist; or a file is missing or damaged, or does not agree with the others.
    FileExistsError
        `out` exists and `overwrite` is false, unless an interrupted call has made it.
    KeyError, ValueError
        One of `columns` does not exist; or an interrupted call was made with other `columns`.
    ImportError
        The package `tiledb` is not installed, which reads the metadata.

    Examples
    --------
    >>> import scim
    >>> with scim.scimilarity.import_atlas("model_v1.1", "atlas.scim") as atlas:  # doctest: +SKIP
    ...     print(atlas)
    """
    from scim.scimilarity._model import import_model  # noqa: PLC0415  (readers of an atlas need no torch)

    folder = local_path(folder, what="a published folder")
    model = import_model(folder)
    target = Storage.of(out).path
    scratch = Path(tempfile.gettempdir()) if target is None else target.parent
    with contextlib.ExitStack() as stack:
        with PublishedCells.open(folder, model.latent_dim, columns=columns, scratch=scratch) as cells:
            _warn_of_unknown(cells.labels - set(model.metadata["labels"]), folder)
            make = partial(create, out, model=model, overwrite=overwrite)
            atlas = resume_or_create(out, model.uid, make, overwrite=overwrite, unfinished=_is_unfinished)
            stack.callback(atlas.close)
            del model, make  # hundreds of megabytes
            indexed = atlas.snapshot.embedding.index is not None
            if not indexed:
                _append_all(atlas, cells)
        del cells  # as many
        if not indexed:
            atlas.build_index()
        atlas.vacuum()  # earlier versions are those of a partial import
        stack.pop_all()  # the atlas stays open
    logger.info("imported %s: %s", folder, atlas)
    return atlas


def _warn_of_unknown(labels: set[str], folder: Path) -> None:
    if labels:
        msg = f"{len(labels)} labels of the cells in {str(folder)!r} are not among those of its model, as "
        msg += f"{sorted(labels)[:3]}: one of reference_labels.tsv and label_ints.csv may be damaged."
        warn(msg)


def _is_unfinished(atlas: Atlas) -> bool:
    """Return whether the last step was not taken, which vacuums the first version."""
    return atlas.snapshot.embedding.index is None or 1 in commits(atlas.snapshot.storage)


def _append_all(atlas: Atlas, cells: PublishedCells) -> None:
    """Append the cells that the atlas lacks, a commit for each step."""
    n_done = _resume(atlas, cells) if atlas.n_obs else 0
    with progress(total=cells.n, initial=n_done, desc="import", unit="cell") as bar:
        for start in range(n_done, cells.n, _cells.STEP):
            source = cells.source(start)
            if source is not None:
                atlas._append([source], embedded=True)
            bar.update(min(_cells.STEP, cells.n - start))


def _resume(atlas: Atlas, cells: PublishedCells) -> int:
    """Return the number of positions that are in the atlas, and exclude their labelled cells from further matches."""
    if set(atlas.columns) != cells.columns:
        more, fewer = sorted(set(atlas.columns) - cells.columns), sorted(cells.columns - set(atlas.columns))
        msg = f"The interrupted import at {atlas.uri!r} was called with columns {more} that are not in this call, and "
        msg += f"without {fewer}; ask for the same columns, or pass overwrite=True."
        raise ValueError(msg)
    stored_lines = atlas.obs(columns=[keys.ANNOTATION_INDEX])[keys.ANNOTATION_INDEX]
    last = -1
    for n in (0, atlas.n_obs - 1):
        line = None if pd.isna(stored_lines.iloc[n]) else int(stored_lines.iloc[n])
        position = cells.find(n, line, atlas.embeddings([n])[0])
        if position is None:
            msg = f"The atlas at {atlas.uri!r} has the model of this folder, but other cells: it was imported from "
            msg += "another folder. Name another, or pass overwrite=True."
            raise FormatError(msg)
        last = position
    cells.mark_imported(stored_lines.dropna().to_numpy(dtype=np.int64))
    logger.info("%d cells are in %s already", atlas.n_obs, atlas.uri)
    return min(cells.n, -(-(last + 1) // _cells.STEP) * _cells.STEP)
