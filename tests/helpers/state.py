"""The content of an atlas as values that can be compared: half a change differs from both versions."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import scim
from scim.atlas.commit import load_names
from scim.atlas.soma import read_counts, read_embeddings, read_obs

if TYPE_CHECKING:
    from pathlib import Path

    from scim.atlas import Atlas

State = dict[str, Any]


def state_of(path: Path, *, at: int | None = None) -> State:
    """Return the content of the last commit of an atlas, or of an earlier one."""
    with scim.atlas.open(path, at=at) as atlas:
        state = published(atlas)
        has_draft = atlas.snapshot.manifest.draft is not None
    if has_draft:
        with scim.atlas.open(path, at=at, draft=True) as draft:
            state |= {f"draft {name}": value for name, value in _space_of(draft).items()}
    return state


def published(atlas: Atlas) -> State:
    """Return the content of an open atlas."""
    return _space_of(atlas) | _cells_of(atlas)


def digest(state: State) -> str:
    """Return a checksum of the values of a state."""
    content = hashlib.sha256()
    for name, value in sorted(state.items()):
        content.update(name.encode())
        if isinstance(value, pd.DataFrame):
            content.update(value.to_csv().encode())
        elif isinstance(value, np.ndarray) and value.dtype != object:
            content.update(np.ascontiguousarray(value).tobytes())
        else:
            content.update(repr(value).encode())
    return content.hexdigest()


def differences(state: State, expected: State) -> list[str]:
    """Return the names of what differs."""
    names = sorted(set(state) | set(expected))
    return [name for name in names if not _same(state.get(name), expected.get(name))]


def _cells_of(atlas: Atlas) -> State:
    experiment, manifest = atlas.snapshot.experiment, atlas.snapshot.manifest
    columns = atlas.columns
    names = [load_names(atlas.snapshot.storage, entry, manifest.n_rows) for entry in manifest.names]
    hashes, ids = np.concatenate(names, axis=1) if names else np.empty((2, 0), dtype=np.uint64)
    alive = np.isin(ids, atlas.ids.astype(np.uint64))
    genes = experiment.ms["RNA"].var.read().concat().to_pandas().set_index("soma_joinid")["gene_id"].sort_index()
    counts = read_counts(experiment, 0, manifest.n_rows).toarray() if manifest.counted else np.empty(0)
    counted = [np.arange(cells.start, cells.stop) for cells in manifest.counted]
    info = atlas.info()
    expression = atlas.snapshot.expression
    return {
        "samples": [(entry.sha256, entry.n) for entry in manifest.samples],
        "expression": [] if expression is None else [expression.labels.tolist(), expression.studies.tolist()],
        "n_obs": atlas.n_obs,
        "columns": columns,
        "ids": atlas.ids,
        "obs": atlas.obs(),
        "obs of the store": read_obs(experiment, None, columns),
        "selected": atlas.select("label == 'B cell' or study == 'one'"),
        "labels": [None if code < 0 else atlas.labels.names[code] for code in atlas.labels.codes],
        "genes": genes.tolist(),
        "counts": counts[: manifest.n_rows],
        "counted": np.concatenate(counted) if counted else np.empty(0),
        "names": sorted(zip(hashes[alive].tolist(), ids[alive].tolist(), strict=True)),
        "info": {
            name: info[name] for name in ("cells", "removed", "studies", "labels", "unlabelled", "genes", "draft")
        },
    }


def _space_of(atlas: Atlas) -> State:
    ids = atlas.ids[atlas.ids < atlas.snapshot.embedding.n_rows]
    embeddings = read_embeddings(atlas.snapshot.experiment, atlas.snapshot.embedding.name, ids)
    state = {"embeddings": embeddings, "model": atlas.model.uid, "reach": atlas.label_radius}
    if (
        atlas.snapshot.embedding.index is not None
        and len(ids)
        and atlas.snapshot.embedding.index.n_rows == atlas.snapshot.manifest.n_rows
    ):
        hits = atlas.index.query(embeddings[::7], min(5, len(ids)))
        state |= {"index": atlas.index.n_rows, "index ids": hits.ids, "index distances": hits.distances}
        filtered = atlas.index.query(embeddings[::11], 3, where="study == 'one'")
        state |= {"filtered ids": filtered.ids}
    return state


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, pd.DataFrame) and isinstance(other, pd.DataFrame):
        return one.equals(other) and list(one.columns) == list(other.columns)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return type(one) is type(other) and bool(one == other)
