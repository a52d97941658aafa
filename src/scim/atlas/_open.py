"""Making an atlas, and opening one."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scim._core.folder import new_folder
from scim._core.log import logger
from scim._core.settings import settings
from scim.atlas._atlas import Atlas
from scim.atlas._manifest import FILE, Manifest
from scim.atlas._soma import create_soma, now

if TYPE_CHECKING:
    from scim.model import Model

PACKAGED = Path(__file__).parent / "blood_pancreas.scim"
"""The atlas that comes with the package."""


def create(uri: str | os.PathLike[str], *, model: Model | str | os.PathLike[str], overwrite: bool = False) -> Atlas:
    """Make an atlas without cells, and open it for writing.

    Parameters
    ----------
    uri
        Folder to make.
    model
        The model that will embed its cells, or the folder of one; it is copied into the atlas.
    overwrite
        Whether to replace what is there.

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
    path = Path(uri).expanduser().resolve()  # TileDB takes a relative path from where the process started
    with new_folder(path, marker=FILE, overwrite=overwrite) as folder:
        chosen.save(folder / "model")
        create_soma(folder, chosen.genes, chosen.symbols, chosen.latent_dim)
        Manifest(uid=uuid.uuid4().hex, model=chosen.uid, n_obs=0, timestamp=now()).write(folder)
    logger.info("made atlas %s", uri)
    return Atlas(path, "w")


def open_atlas(uri: str | os.PathLike[str] | None = None, mode: Literal["r", "w"] = "r") -> Atlas:
    """Open an atlas.

    Parameters
    ----------
    uri
        Its folder. Default: `scim.settings.atlas`, else the atlas of blood and pancreas that comes with the package.
    mode
        `"r"` to read, `"w"` to append and build the index too.

    Raises
    ------
    FileNotFoundError
        There is no atlas at `uri`.
    FormatError
        It is damaged, or written by a newer version.

    Examples
    --------
    >>> import scim
    >>> with scim.atlas.open() as atlas:
    ...     atlas.columns[:4]
    ['cell_id', 'study', 'label', 'label_id']
    """
    if uri is not None and not isinstance(uri, str | os.PathLike):
        msg = f"Expected the folder of an atlas, got {type(uri).__name__}."
        raise TypeError(msg)
    if mode not in ("r", "w"):
        msg = f"mode must be 'r' or 'w', got {mode!r}."
        raise ValueError(msg)
    folder = Path(uri or settings.atlas or PACKAGED).expanduser().resolve()
    if not folder.is_dir():
        msg = f"No atlas at {str(folder)!r}: there is no such folder. scim.atlas.create() makes one."
        raise FileNotFoundError(msg)
    return Atlas(folder, mode)
