"""A published folder to an atlas, some rows at a time, each some a commit of its own: whoever dies goes on there."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core import keys
from scim._core.errors import FormatError
from scim._core.log import logger, progress
from scim.atlas._open import create, open_atlas
from scim.atlas.commit import FILE, commits
from scim.atlas.storage import Storage
from scim.scimilarity.atlas._cells import STEP, Published

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.atlas._atlas import Atlas
    from scim.model import Model


def import_atlas(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Atlas:
    """Make an atlas of a published SCimilarity folder, as `model_v1.1`: its model, its cells, its labels.

    The cells of `cellsearch` come first, in the order of their metadata; labelled cells of `annotation` are found among
    them by their embeddings, and those that are not there follow. Index files of hnswlib are read as bytes. Rows are
    read and committed 131,072 at a time; when it was interrupted, the same call goes on where it stopped. Nothing in
    the folder is executed or changed.

    Parameters
    ----------
    folder
        The folder: a model (see :func:`scim.scimilarity.import_model`), and `annotation` or `cellsearch` or both.
        Embeddings are those of `cellsearch/full_kNN.bin` if it is a file, else of `cellsearch/cell_embedding`, else of
        an index of TileDB that is called `full_kNN.bin`.
    out
        The atlas to make.
    columns
        Which columns of `cellsearch/cell_metadata` to keep. Default: all. `study` always is; "NA" is
        missing, and a column of "True" and "False" is one of bool. A name that the atlas uses itself gets the prefix
        `metadata_`, and so does `index` where it is not the number of the row.
    overwrite
        Whether to replace what is at `out`.

    Returns
    -------
    The atlas, open for writing. Beside the columns that every atlas has, and those of the metadata, its obs has

    `cell_id` : str
        The row of the metadata, or `annotation-` and the line for a cell that is not there.
    `in_cellsearch`, `in_annotation` : bool
        Which index a cell comes from. The cells of `annotation` are those that have a `label` and vote.
    `reference_label` : str
        The label as it stands in the folder; `label` is its name in today's Cell Ontology.
    `annotation_index` : int64
        Its line in `reference_labels.tsv`.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    FileExistsError
        `out` exists and `overwrite` is false, unless it is what an interrupted call has made.
    KeyError
        One of `columns` does not exist.
    ValueError
        An interrupted call was made with other `columns`.
    FormatError
        A file is missing or damaged, or does not agree with the others.
    ImportError
        The package `tiledb` is not installed, which reads the metadata.

    Examples
    --------
    >>> import scim
    >>> with scim.scimilarity.import_atlas("model_v1.1", "atlas.scim") as atlas:  # doctest: +SKIP
    ...     print(atlas)
    """
    from scim.scimilarity.model import import_model as read_model  # noqa: PLC0415  (readers of an atlas need no torch)

    folder = Path(folder)
    model = read_model(folder)
    beside = Storage.of(out).path
    room = Path(tempfile.gettempdir()) if beside is None else beside.parent
    with contextlib.ExitStack() as stack:
        with Published.open(folder, model.latent_dim, columns=columns, beside=room) as cells:
            atlas = _begun(out, model, overwrite=overwrite)
            stack.callback(atlas.close)
            del model  # hundreds of megabytes
            whole = atlas._space.index is not None
            if not whole:
                _fill(atlas, cells)
        del cells  # as many
        if not whole:
            atlas.build_index()
        atlas.vacuum()  # the versions are those of an atlas that was not whole
        stack.pop_all()  # it stays open
    logger.info("imported %s: %s", folder, atlas)
    return atlas


def _begun(out: Any, model: Model, *, overwrite: bool) -> Atlas:
    """Open the atlas that an interrupted call has made, or make one."""
    if not overwrite and Storage.of(out).exists(FILE):
        atlas = open_atlas(out, "w")
        # With the first version still there, the last step was not taken: it takes all but the last away.
        if atlas.model_uid == model.uid and (atlas._space.index is None or 1 in commits(atlas._storage)):
            return atlas
        atlas.close()
    return create(out, model=model, overwrite=overwrite)


def _fill(atlas: Atlas, cells: Published) -> None:
    done = _goes_on(atlas, cells)
    with progress(total=cells.n, initial=done, desc="import", unit="cell") as bar:
        for start in range(done, cells.n, STEP):
            source = cells.source(start)
            if source is not None:
                atlas._append([source], gene_key=None, counts=False, skip=False, embedded=True)
            bar.update(min(STEP, cells.n - start))


def _goes_on(atlas: Atlas, cells: Published) -> int:
    """Return how many rows of the folder are in the atlas, and tell `cells` which labels are given."""
    if atlas.n_obs == 0:
        return 0
    if set(atlas.columns) != cells.columns:
        more, fewer = sorted(set(atlas.columns) - cells.columns), sorted(cells.columns - set(atlas.columns))
        msg = (
            f"The atlas at {atlas.uri!r} was begun with columns {more} that are not asked for now, "
            f"and without {fewer}; ask for the same columns, or pass overwrite=True."
        )
        raise ValueError(msg)
    given = atlas.obs(columns=[keys.ANNOTATION_INDEX])[keys.ANNOTATION_INDEX]
    ends = [0, atlas.n_obs - 1]
    lines = [None if pd.isna(given.iloc[n]) else int(given.iloc[n]) for n in ends]
    places = [cells.place_of(n, line) for n, line in zip(ends, lines, strict=True)]
    if not _same(atlas.embeddings(ends), cells, places):
        msg = (
            f"The atlas at {atlas.uri!r} has the model of this folder, but other cells: it was begun from another "
            "folder. Name another, or pass overwrite=True."
        )
        raise FormatError(msg)
    cells.give(given.dropna().to_numpy(dtype=np.int64))
    assert places[1] is not None
    done = min(cells.n, -(-(places[1] + 1) // STEP) * STEP)
    logger.info("%d cells are in %s already", atlas.n_obs, atlas.uri)
    return done


def _same(stored: NDArray[np.float32], cells: Published, places: Sequence[int | None]) -> bool:
    """Say whether embeddings are those at places of the folder."""
    vectors = [None if place is None else cells.vector(place) for place in places]
    return all(
        vector is not None and bool(np.abs(row - vector).max() < 1e-6)
        for row, vector in zip(stored, vectors, strict=True)
    )
