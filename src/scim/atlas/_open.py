"""Making and opening of atlases; those that functions open by path stay open for the session."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scim._core import check_flags, check_range, keys, logger, settings
from scim.atlas._atlas import Atlas
from scim.atlas._models import given_model, save_model
from scim.atlas._snapshot import Snapshot
from scim.atlas.commit import (
    FILE,
    EmbeddingVersion,
    Manifest,
    commit_file,
    commits,
    first_commit,
    parse_manifest,
    read_manifest,
)
from scim.atlas.soma import create_experiment, named_failure
from scim.atlas.storage import Storage, is_ours
from scim.io import new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scim.model import Model

PACKAGED = Path(__file__).parent / "human_tissues.scim"
"""The atlas that comes with the package."""

_PACKAGED = "packaged"  # stands for its path in records of results: another machine has it at another path
_N_OPEN = 2  # atlases that stay open
_GENE_BYTES, _STORE_BYTES = 200, 1 << 20  # of a gene in the model and in the store; of a store without cells

_open: dict[tuple[Any, ...], tuple[bytes, Snapshot]] = {}
"""Content of `atlas.json` and the snapshot of it, by process, address and settings; last used last."""

_lock = threading.Lock()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603  (a thread of the parent may have had it)
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_after_fork)


def create(
    uri: str | os.PathLike[str], *, model: Model | str | os.PathLike[str], overwrite: bool = False, timeout: float = 10
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
    check_flags(overwrite=overwrite)
    check_range("timeout", timeout, float("inf"))
    chosen = given_model(model)
    embedding = EmbeddingVersion(keys.EMBEDDING, chosen.latent_dim, 0, chosen.uid, "model")
    return create_empty(uri, embedding, chosen, overwrite=overwrite, timeout=timeout)


def create_empty(
    uri: str | os.PathLike[str],
    embedding: EmbeddingVersion,
    model: Model | None,
    *,
    overwrite: bool = False,
    timeout: float = 10,
) -> Atlas:
    """Make an atlas without cells for an embedding; without a model if that was made elsewhere."""
    with (
        named_failure(Storage.of(uri), "making an atlas", outcome="none was made"),
        _new(uri, overwrite=overwrite) as storage,
    ):
        storage.check_room(_n_bytes(model))
        genes = symbols = np.empty(0, dtype=object)
        if model is not None:
            genes, symbols = model.genes, model.symbols
            save_model(storage, model, "model")
        create_experiment(storage, genes, symbols, embedding.name, embedding.dim)
        first_commit(storage, uid=uuid.uuid4().hex, what="made the atlas", published=embedding)
    logger.info("made atlas %s", uri)
    return open_atlas(uri, "w", timeout=timeout)


def _n_bytes(model: Model | None) -> int:
    """Return the bytes of an atlas without cells, generously."""
    if model is None:
        return _STORE_BYTES
    nets = [net for net in (model.encoder, model.decoder) if net is not None]
    weights: int = sum(value.nbytes for net in nets for value in net.state_dict().values())
    return _STORE_BYTES + weights + model.n_genes * _GENE_BYTES


@contextlib.contextmanager
def _new(uri: str | os.PathLike[str], *, overwrite: bool) -> Iterator[Storage]:
    """Yield the files of an atlas that exists when the block ends without an error; in a folder, not before."""
    storage = Storage.of(uri)
    if storage.path is not None:
        storage.sweep_beside()
        with new_folder(storage.path, marker=FILE, overwrite=overwrite, is_known=is_ours) as folder:
            yield Storage.of(folder)
        return
    present = [file.name for file in storage.files()]
    if present and not overwrite:
        msg = f"{storage.uri!r} exists already; pass overwrite=True to replace it."
        raise FileExistsError(msg)
    if present and not storage.exists(FILE):
        msg = f"{storage.uri!r} is not replaced: it has no {FILE!r}, so it is something else. Name another."
        raise FileExistsError(msg)
    if foreign := [name for name in present if not is_ours(name)]:
        msg = f"{storage.uri!r} is not replaced: {foreign[0]!r} in it is no file of scim; move it elsewhere."
        raise FileExistsError(msg)
    # The manifest is deleted first and written last: in between it is no atlas.
    storage.delete([FILE])
    storage.delete_folder()
    yield storage


def open_atlas(
    uri: str | os.PathLike[str] | None = None,
    mode: Literal["r", "w"] = "r",
    *,
    at: int | str | datetime | None = None,
    draft: bool = False,
    timeout: float = 10,
) -> Atlas:
    """Open an atlas at its last commit; later ones are seen after `refresh`.

    Parameters
    ----------
    uri
        Its folder, or `s3://bucket/prefix` (see `scim.settings.storage`).
        Default: `scim.settings.atlas`, else the atlas of ten human tissues that comes with the package.
    mode
        `"r"` to read, `"w"` to change it too.
    at
        Open an earlier version, to read: its number, or a time (text as `"2026-05-01 12:00"` or a datetime, UTC unless
        it says otherwise) at which it was the last. Versions stay until `vacuum`; `info()["versions"]` lists them.
    draft
        Read the embedding that `reembed(publish=False)` made, instead of the published one.
    timeout
        Seconds that a change waits for another writer.

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
    if mode not in ("r", "w"):
        msg = f"mode must be 'r' or 'w', got {mode!r}."
        raise ValueError(msg)
    check_flags(draft=draft)
    check_range("timeout", timeout, float("inf"))
    if mode == "w" and (at is not None or draft):
        msg = "An earlier version and a draft can only be read; leave mode='w' out."
        raise ValueError(msg)
    storage = _storage_at(uri)
    manifest = read_manifest(storage)
    if at is not None:
        manifest = _earlier(storage, manifest, at)
    return Atlas(Snapshot(storage, manifest, draft=draft), mode, timeout=timeout)


def _storage_at(uri: str | os.PathLike[str] | None) -> Storage:
    """Return the files of an atlas; `None` = the default one."""
    if uri is not None and not isinstance(uri, str | os.PathLike):
        msg = f"atlas: Expected the folder or the address of an atlas, got {type(uri).__name__}."
        raise TypeError(msg)
    storage = Storage.of(settings.atlas or PACKAGED if uri is None else uri)
    if storage.path is not None and not storage.path.is_dir():
        msg = f"No atlas at {storage.uri!r}: there is no such folder. scim.atlas.create() makes one."
        raise FileNotFoundError(msg)
    return storage


def _earlier(storage: Storage, manifest: Manifest, at: Any) -> Manifest:
    """Return the state of a commit, or of the last before a time."""
    numbers = [number for number in commits(storage) if number <= manifest.number]
    if isinstance(at, int | np.integer) and not isinstance(at, bool):
        if at not in numbers:
            msg = f"The atlas at {storage.uri!r} has no version {at}. Present: {numbers[-20:]}."
            raise ValueError(msg)
        return read_manifest(storage, commit_file(int(at)))
    if not isinstance(at, str | datetime):
        msg = f"at must be a version number, a time as text or a datetime, got {type(at).__name__}."
        raise TypeError(msg)
    try:
        moment = pd.Timestamp(at)
    except ValueError as error:
        msg = f"at={at!r} is not a time; expected one as '2026-05-01 12:00', or the number of a version."
        raise ValueError(msg) from error
    moment = moment.tz_localize(UTC) if moment.tzinfo is None else moment.tz_convert(UTC)
    for number in reversed(numbers):
        manifest = read_manifest(storage, commit_file(number))
        if pd.Timestamp(manifest.made) <= moment:
            return manifest
    msg = f"The atlas at {storage.uri!r} has no version as old as {moment}; "
    msg += f"its oldest is {manifest.number}, of {manifest.made}."
    raise ValueError(msg)


@contextlib.contextmanager
def opened(atlas: Atlas | str | os.PathLike[str] | None) -> Iterator[Atlas]:
    """Yield an open atlas at its last commit; one that is passed open stays as it is.

    The last two atlases that were opened by path stay open for the session, with their models, until `atlas.json`
    changes; :func:`forget_opened` frees their memory.
    """
    yield atlas if isinstance(atlas, Atlas) else Atlas(_snapshot_of(_storage_at(atlas)))


def _snapshot_of(storage: Storage) -> Snapshot:
    """Return the last commit of an atlas: the snapshot that is open, if `atlas.json` has not changed since."""
    # A fork has no use of the threads of TileDB, and other settings may reach other servers.
    key = (os.getpid(), storage.uri, tuple(storage.tiledb_config().items()))
    try:
        raw = storage.read(FILE)
    except OSError:
        with _lock:
            _open.pop(key, None)
        read_manifest(storage)  # raises the error that names what is missing
        raise
    with _lock:
        known, snapshot = _open.pop(key, (b"", None))
        if snapshot is None or known != raw:
            snapshot = Snapshot(storage, parse_manifest(storage, raw))
        _open[key] = (raw, snapshot)
        for oldest in _own_keys()[:-_N_OPEN]:
            del _open[oldest]
    return snapshot


def forget_opened() -> None:
    """Free the memory of the atlases that stay open."""
    with _lock:
        for key in _own_keys():
            del _open[key]


def _own_keys() -> list[tuple[Any, ...]]:
    """Return the keys of this process: a fork leaves the handles of its parent alone."""
    return [key for key in _open if key[0] == os.getpid()]


def origin(atlas: Atlas) -> dict[str, str | int]:
    """Return the atlas of a result, for `uns`: path, uid and version."""
    return {"path": _PACKAGED if atlas.uri == str(PACKAGED) else atlas.uri, "uid": atlas.uid, "version": atlas.version}


@contextlib.contextmanager
def opened_again(record: dict[str, Any], atlas: Atlas | str | os.PathLike[str] | None = None) -> Iterator[Atlas]:
    """Yield the atlas of a result, at its path then or at the one given now; `ValueError` if it is another one."""
    path = PACKAGED if record["path"] == _PACKAGED else record["path"]
    with opened(path if atlas is None else atlas) as source:
        if source.uid != record["uid"]:
            msg = f"The search was made in atlas {record['uid']}, but {source.uri!r} is {source.uid}; pass atlas=."
            raise ValueError(msg)
        yield source
