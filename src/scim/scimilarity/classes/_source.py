"""What `model_path` names: an imported atlas, a model of scim, or a folder as it was published."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from scim import atlas as atlases
from scim._core import keys
from scim.atlas import Atlas

if TYPE_CHECKING:
    from scim.model import Model

ModelPath: TypeAlias = str | os.PathLike[str] | Atlas

_PUBLISHED = "encoder.ckpt"
_ATLAS = "atlas.json"


def imported_atlas(model_path: ModelPath) -> Atlas:
    """Open the atlas that `scim import-scimilarity` made; one that came open is returned.

    Raises
    ------
    ValueError
        It is the published folder, which has to be imported first, or an atlas that was made otherwise.
    FileNotFoundError
        There is nothing.
    """
    if not isinstance(model_path, Atlas):
        if _has(model_path, _PUBLISHED):
            folder = os.fspath(model_path)
            msg = (
                f"{folder!r} is a folder as SCimilarity publishes it; import it once, by the command "
                f"`scim import-scimilarity {folder} atlas.scim`, and give the path of the atlas instead."
            )
            raise ValueError(msg)
        atlas = atlases.open(model_path)
        try:
            return _with_columns(atlas)
        except BaseException:
            atlas.close()
            raise
    return _with_columns(model_path)


def _with_columns(atlas: Atlas) -> Atlas:
    """Return an atlas that has the columns of an import."""
    absent = [name for name in keys.REFERENCE_COLUMNS if name not in atlas.columns]
    if absent:
        msg = (
            f"The atlas at {atlas.uri!r} has no columns {absent}; expected one made by `scim import-scimilarity`. "
            "Other atlases are asked by scim.tl.annotate and scim.tl.search."
        )
        raise ValueError(msg)
    return atlas


def model_of(model_path: ModelPath) -> Model:
    """Return the model of an atlas, of a folder of scim, or of a published folder.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    from scim.model import load  # noqa: PLC0415  (annotating and searching need no torch)

    if isinstance(model_path, Atlas):
        return model_path.model
    if _has(model_path, _PUBLISHED):
        from scim.scimilarity.model import import_model  # noqa: PLC0415

        return import_model(model_path)
    if "://" in os.fspath(model_path) or _has(model_path, _ATLAS):
        with atlases.open(model_path) as atlas:
            return atlas.model
    return load(model_path)


def _has(folder: str | os.PathLike[str], name: str) -> bool:
    if not isinstance(folder, str | os.PathLike):
        msg = f"model_path must be the path of an atlas or of a model, got {type(folder).__name__}."
        raise TypeError(msg)
    return "://" not in os.fspath(folder) and (Path(folder) / name).is_file()
