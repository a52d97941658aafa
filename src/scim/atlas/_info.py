"""What an atlas holds, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from scim._core import keys
from scim.atlas.commit import commit_file, commits, read_manifest
from scim.atlas.soma import MEASUREMENT

if TYPE_CHECKING:
    from scim.atlas._reader import Reader
    from scim.atlas.commit import Manifest, Space
    from scim.atlas.storage import Storage

_LAST = 10
"""Commits that are told one by one."""


def describe(reader: Reader, storage: Storage, manifest: Manifest, space: Space) -> dict[str, Any]:
    """Return cells, studies, labels, genes, columns, model, index, bytes and versions."""
    studies = reader.obs(columns=[keys.ATLAS_STUDY])[keys.ATLAS_STUDY].value_counts()
    codes, names, _ = reader.labels
    live = codes[reader.ids]
    labels = pd.Series(names[live[live >= 0]], dtype=object).value_counts()
    return {
        "path": storage.uri,
        "cells": manifest.n_obs,
        "removed": manifest.n_rows - manifest.n_obs,
        "studies": studies.to_dict(),
        "labels": labels.to_dict(),
        "unlabelled": int((live < 0).sum()),
        "columns": reader.columns,
        "genes": int(reader._open().ms[MEASUREMENT].var.count),
        "counts": sum(len(reader.ids[cells.among(reader.ids)]) for cells in manifest.counted),
        "model": space.model,
        "dim": space.dim,
        "index": _index(space),
        "draft": None if manifest.draft is None else {"model": manifest.draft.model, "cells": manifest.draft.n_rows},
        "bytes": _bytes(storage),
        "versions": _versions(storage, manifest),
    }


def _index(space: Space) -> dict[str, Any] | None:
    if space.index is None:
        return None
    parts = {part.folder: part.stop - part.start for part in space.index.parts}
    return {"cells": space.index.n_rows, "reach": space.index.reach, "parts": parts}


def _bytes(storage: Storage) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for file in storage.files():
        part = file.name.split("/")[0]
        sizes[part] = sizes.get(part, 0) + file.n_bytes
    return dict(sorted(sizes.items()))


def _versions(storage: Storage, manifest: Manifest) -> list[dict[str, Any]]:
    """Return the last commits, newest first."""
    numbers = [number for number in commits(storage) if number <= manifest.number]
    last = [read_manifest(storage, commit_file(number)) for number in numbers[-_LAST:]]
    return [{"version": old.number, "made": old.made, "what": old.what, "cells": old.n_obs} for old in last[::-1]]
