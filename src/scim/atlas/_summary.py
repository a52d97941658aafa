"""The summary of a commit, for people: how many cells there are of what, what the atlas has, and how large it is."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core import FormatError, keys
from scim.atlas._columns import TEXT
from scim.atlas.commit import commit_file, commits, read_manifest
from scim.atlas.soma import MEASUREMENT, VAR_PATH, named_damage
from scim.index._files import HEADER, parse_header

if TYPE_CHECKING:
    from scim.atlas._snapshot import Snapshot

_VERSIONS = 10  # the last ones are listed


def summarize(snapshot: Snapshot) -> dict[str, Any]:
    """Return the summary of :meth:`Snapshot.info`."""
    storage, manifest, embedding = snapshot.storage, snapshot.manifest, snapshot.embedding
    codes, names, _ = snapshot.labels
    labels = pd.Series(np.append(names, [None])[codes[snapshot.ids]], dtype=object)
    files = {file.name: file.n_bytes for file in storage.files()}
    sizes = Counter[str]()
    for name, n_bytes in files.items():
        sizes[name.split("/")[0]] += n_bytes
    numbers = [number for number in commits(storage) if number <= manifest.number]
    last = [read_manifest(storage, commit_file(number)) for number in numbers[-_VERSIONS:]]
    draft = manifest.draft
    return {
        "path": storage.uri,
        "cells": manifest.n_obs,
        "removed": manifest.n_rows - manifest.n_obs,
        "studies": snapshot.obs(columns=[keys.ATLAS_STUDY])[keys.ATLAS_STUDY].value_counts().to_dict(),
        "labels": labels.value_counts().to_dict(),
        "unlabelled": int(labels.isna().sum()),
        "tissues": _tissues(snapshot),
        "columns": snapshot.columns,
        "genes": _n_genes(snapshot),
        "counts": sum(len(snapshot.ids[cells.among(snapshot.ids)]) for cells in manifest.counted),
        "model": embedding.model,
        "dim": embedding.dim,
        "index": _index(snapshot),
        "expression": _expression(snapshot, files),
        "draft": None if draft is None else {"model": draft.model, "cells": draft.n_rows},
        "bytes": dict(sorted(sizes.items())),
        "versions": [{"version": v.number, "made": v.made, "what": v.what, "cells": v.n_obs} for v in last[::-1]],
    }


def _n_genes(snapshot: Snapshot) -> int:
    experiment = snapshot.experiment
    snapshot.integrity.check(VAR_PATH)
    with named_damage(snapshot.storage):
        return int(experiment.ms[MEASUREMENT].var.count)


def _tissues(snapshot: Snapshot) -> dict[str, int]:
    if snapshot.types.get(keys.ATLAS_TISSUE) != TEXT:
        return {}
    column = snapshot.obs(columns=[keys.ATLAS_TISSUE])[keys.ATLAS_TISSUE]
    return {str(name): int(n) for name, n in column.value_counts().items()}


def _index(snapshot: Snapshot) -> dict[str, Any] | None:
    entry = snapshot.embedding.index
    if entry is None:
        return None
    ids = snapshot.ids
    parts = {}
    for part in entry.parts:
        start, stop = np.searchsorted(ids, [part.start, part.stop])
        parts[part.folder] = _n_rows(snapshot, part.folder, int(stop - start))
    found, rows = int(np.searchsorted(ids, entry.n_rows)), sum(parts.values())
    return {"cells": found, "rows": rows, "reach": entry.label_radius, "parts": parts}


def _n_rows(snapshot: Snapshot, folder: str, n_found: int) -> int:
    """Return the rows of a part of the index, also those of cells removed since; `n_found` if it cannot be read."""
    with contextlib.suppress(OSError, FormatError):  # `scim atlas verify` names the damage
        header, _ = parse_header(snapshot.storage.read(f"{folder}/{HEADER}"), HEADER)
        return sum(segment.n_rows for segment in header.segments)
    return n_found


def _expression(snapshot: Snapshot, files: dict[str, int]) -> dict[str, int] | None:
    entry, expression = snapshot.embedding.expression, snapshot.expression
    if entry is None or expression is None:
        return None
    return {"genes": len(expression.genes), "pairs": len(expression.labels), "bytes": files[entry.name]}
