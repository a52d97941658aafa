"""Making an atlas, and opening one."""

from __future__ import annotations

import contextlib
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scim._core import keys
from scim._core.folder import new_folder
from scim._core.log import logger
from scim._core.settings import settings
from scim.atlas._atlas import Atlas
from scim.atlas._models import save_model
from scim.atlas.commit import FILE, Manifest, Space, commit_file, commits, first_commit, read_manifest
from scim.atlas.soma import create_experiment, failure_named
from scim.atlas.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scim.model import Model

PACKAGED = Path(__file__).parent / "blood_pancreas.scim"
"""The atlas that comes with the package."""


def create(
    uri: str | os.PathLike[str],
    *,
    model: Model | str | os.PathLike[str],
    overwrite: bool = False,
    timeout: float = 10,
) -> Atlas:
    """Make an atlas without cells, and open it for writing.

    Parameters
    ----------
    uri
        Folder to make, or `s3://bucket/prefix`.
    model
        The model that will embed its cells, or the folder of one; it is copied into the atlas.
    overwrite
        Whether to replace what is there.
    timeout
        See :func:`scim.atlas.open`.

    Returns
    -------
    The atlas, open for writing: `append` cells, then `build_index`.

    Raises
    ------
    FileExistsError
        `uri` exists and `overwrite` is false.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> with scim.atlas.create("toy.scim", model=scim.atlas.open().model) as atlas:  # doctest: +SKIP
    ...     atlas.append(adata, study="toy", label_key="cell_type")
    ...     atlas.build_index()
    """
    from scim.model import Model, load  # noqa: PLC0415  (readers of an atlas need no torch)

    chosen = model if isinstance(model, Model) else load(model)
    space = Space(keys.EMBEDDING, chosen.latent_dim, 0, chosen.uid, "model")
    return create_empty(uri, space, chosen, overwrite=overwrite, timeout=timeout)


def create_empty(
    uri: str | os.PathLike[str], space: Space, model: Model | None, *, overwrite: bool = False, timeout: float = 10
) -> Atlas:
    """Make an atlas without cells for an embedding; without a model if that was made elsewhere."""
    named = failure_named(Storage.of(uri), "making an atlas", outcome="none was made")
    with named, _new(uri, overwrite=overwrite) as storage:
        genes, symbols = np.empty(0, dtype=object), np.empty(0, dtype=object)
        if model is not None:
            genes, symbols = model.genes, model.symbols
            save_model(storage, model, "model")
        create_experiment(storage, genes, symbols, space.embedding, space.dim)
        first_commit(storage, uid=uuid.uuid4().hex, what="made the atlas", space=space)
    logger.info("made atlas %s", uri)
    return open_atlas(uri, "w", timeout=timeout)


@contextlib.contextmanager
def _new(uri: str | os.PathLike[str], *, overwrite: bool) -> Iterator[Storage]:
    """Yield the files of an atlas that is there when the block ends without an error; in a folder, not before."""
    storage = Storage.of(uri)
    if storage.path is not None:
        with new_folder(storage.path, marker=FILE, overwrite=overwrite) as folder:
            yield Storage.of(folder)
        return
    present = storage.files()
    if present and not overwrite:
        msg = f"{storage.uri!r} exists already; pass overwrite=True to replace it."
        raise FileExistsError(msg)
    if present and not storage.exists(FILE):
        msg = f"{storage.uri!r} is not replaced: it has no {FILE!r}, so it is something else. Name another."
        raise FileExistsError(msg)
    # The manifest goes first and comes last: what is between is no atlas.
    storage.delete([FILE])
    for name in storage.folders():
        storage.delete_folder(name)
    yield storage


def open_atlas(
    uri: str | os.PathLike[str] | None = None,
    mode: Literal["r", "w"] = "r",
    *,
    at: int | str | datetime | None = None,
    draft: bool = False,
    timeout: float = 10,
) -> Atlas:
    """Open an atlas, as it is now: what others commit later is seen after `refresh`.

    Parameters
    ----------
    uri
        Its folder, or `s3://bucket/prefix` (see `scim.settings.storage`).
        Default: `scim.settings.atlas`, else the atlas of blood and pancreas that comes with the package.
    mode
        `"r"` to read, `"w"` to change it too.
    at
        Open an earlier version, to read: its number, or a time (text as `"2026-05-01 12:00"` or a datetime, UTC unless
        it says otherwise) at which it was the last. Versions stay until `vacuum`; `info()["versions"]` lists them.
    draft
        Read the embedding that `reembed(publish=False)` made, instead of the published one.
    timeout
        Seconds that a change waits while another writer is at work.

    Raises
    ------
    FileNotFoundError
        There is no atlas at `uri`.
    FormatError
        It is damaged, or written by a newer version.
    ValueError
        There is no version `at` that time, or no draft.

    Examples
    --------
    >>> import scim
    >>> with scim.atlas.open() as atlas:
    ...     atlas.columns[:4]
    ['cell_id', 'study', 'label', 'label_id']
    """
    if uri is not None and not isinstance(uri, str | os.PathLike):
        msg = f"Expected the folder or the address of an atlas, got {type(uri).__name__}."
        raise TypeError(msg)
    if mode not in ("r", "w"):
        msg = f"mode must be 'r' or 'w', got {mode!r}."
        raise ValueError(msg)
    if mode == "w" and (at is not None or draft):
        msg = "An earlier version and a draft can only be read; leave mode='w' out."
        raise ValueError(msg)
    storage = Storage.of(uri or settings.atlas or PACKAGED)
    if storage.path is not None and not storage.path.is_dir():
        msg = f"No atlas at {storage.uri!r}: there is no such folder. scim.atlas.create() makes one."
        raise FileNotFoundError(msg)
    manifest = read_manifest(storage)
    if at is not None:
        manifest = _earlier(storage, manifest, at)
    return Atlas(storage, mode, manifest, draft=draft, timeout=timeout)


def _earlier(storage: Storage, manifest: Manifest, at: Any) -> Manifest:
    """Return the state of a commit, or of the last before a time."""
    numbers = [number for number in commits(storage) if number <= manifest.number]
    if isinstance(at, int) and not isinstance(at, bool):
        if at not in numbers:
            msg = f"The atlas at {storage.uri!r} has no version {at}. Present: {numbers[-20:]}."
            raise ValueError(msg)
        return read_manifest(storage, commit_file(at))
    if not isinstance(at, str | datetime):
        msg = f"at must be a version number, a time as text or a datetime, got {type(at).__name__}."
        raise TypeError(msg)
    try:
        moment = pd.Timestamp(at)
    except ValueError as error:
        msg = f"at={at!r} is not a time; expected one as '2026-05-01 12:00', or the number of a version."
        raise ValueError(msg) from error
    moment = moment.tz_localize(UTC) if moment.tzinfo is None else moment.tz_convert(UTC)
    found = manifest
    for number in reversed(numbers):
        found = read_manifest(storage, commit_file(number))
        if pd.Timestamp(found.made) <= moment:
            return found
    oldest = f"its oldest is {found.number}, of {found.made}"
    msg = f"The atlas at {storage.uri!r} has no version as old as {moment}; {oldest}."
    raise ValueError(msg)
