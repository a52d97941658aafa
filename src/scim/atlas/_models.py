"""The models of an atlas, each in a folder of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from scim._core import FormatError, check_path
from scim.atlas.storage import cached

if TYPE_CHECKING:
    import os

    from scim.atlas.commit import EmbeddingVersion
    from scim.atlas.storage import Storage
    from scim.model import Model


def given_model(model: Model | str | os.PathLike[str]) -> Model:
    """Return a model that is given as such, or as the folder of one."""
    from scim.model import Model, load  # noqa: PLC0415  (readers of an atlas need no torch)

    if isinstance(model, Model):
        return model
    check_path("model", model)
    return load(model)


def save_model(storage: Storage, model: Model, folder: str) -> None:
    """Write a model into a folder of an atlas, in place of what an interrupted write has left there."""
    if storage.path is not None:
        model.save(storage.path / folder, overwrite=True)
        return
    with tempfile.TemporaryDirectory() as temporary:
        model.save(Path(temporary) / "model")
        storage.upload(Path(temporary) / "model", folder)


def load_model(storage: Storage, uid: str, embedding: EmbeddingVersion) -> Model:
    """Load the model that made an embedding, that of a remote atlas from its local copy."""
    from scim.model import load  # noqa: PLC0415  (torch is loaded only when something is embedded)

    if embedding.folder is None:
        msg = f"The atlas at {storage.uri!r} has no model: its embedding was made elsewhere. Search it with use_rep=."
        raise ValueError(msg)

    def checked(folder: Path) -> Model:
        model = load(folder)
        if model.uid != embedding.model:
            msg = f"The model in {str(folder)!r} is {model.uid}, but the cells of this atlas were embedded with "
            msg += f"{embedding.model}; put the original model back."
            raise FormatError(msg)
        return model

    return checked(cached(storage, embedding.folder, f"{uid}-model-{embedding.model}", checked))
