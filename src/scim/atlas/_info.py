"""What an atlas holds, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scim.atlas.commit import commit_file, commits, read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from scim.atlas.commit import Manifest, Space
    from scim.atlas.storage import Storage

_LAST = 10
"""Commits that are told one by one."""


def describe(
    storage: Storage,
    manifest: Manifest,
    space: Space,
    *,
    ids: NDArray[np.int64],
    studies: pd.Series,
    labels: pd.Series,
    columns: Sequence[str],
    n_genes: int,
) -> dict[str, Any]:
    """Return cells, studies, labels, genes, columns, model, index, bytes and versions."""
    return {
        "path": storage.uri,
        "cells": manifest.n_obs,
        "removed": manifest.n_rows - manifest.n_obs,
        "studies": studies.value_counts().to_dict(),
        "labels": labels.value_counts().to_dict(),
        "unlabelled": int(labels.isna().sum()),
        "columns": list(columns),
        "genes": n_genes,
        "counts": sum(len(ids[cells.among(ids)]) for cells in manifest.counted),
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
