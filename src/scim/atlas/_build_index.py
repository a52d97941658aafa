"""The search index of an atlas: a derived folder `index/v0001`, made anew by each build."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Literal

import numpy as np

from scim import index as knn
from scim._core.log import logger
from scim.atlas._manifest import IndexEntry

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_REACH_SAMPLE = 2000
_REACH_QUANTILE = 0.99


def build_index(
    path: Path,
    embeddings: NDArray[np.float32],
    studies: NDArray[np.int64],
    old: IndexEntry | None,
    *,
    kind: Literal["auto", "exact", "ivf", "graph"],
    seed: int,
) -> IndexEntry:
    """Build and save the next version of the index; nothing refers to it until it is committed."""
    built = knn.build(embeddings, kind=kind, rng=seed)
    number = 1 if old is None else int(old.folder.rpartition("v")[2]) + 1
    folder = f"index/v{number:04d}"
    built.save(path / folder, overwrite=True)  # an interrupted build may have left one of this name
    reach = _reach(built, embeddings, studies, seed)
    logger.info("built a %s index of %d cells in %s", built.kind, len(embeddings), folder)
    return IndexEntry(folder, len(embeddings), reach)


def open_index(path: Path, entry: IndexEntry) -> knn.Index:
    """Open the index that an entry names."""
    return knn.open(path / entry.folder)


def drop_index(path: Path, old: IndexEntry | None) -> None:
    """Remove an index that nothing refers to any more."""
    if old is not None:
        shutil.rmtree(path / old.folder, ignore_errors=True)


def _reach(built: knn.Index, embeddings: NDArray[np.float32], studies: NDArray[np.int64], seed: int) -> float:
    """Measure how far cells are from the nearest cell of another study (of one study: the nearest other cell)."""
    n = len(embeddings)
    sample = np.sort(np.random.default_rng(seed).choice(n, min(n, _REACH_SAMPLE), replace=False))
    nearest = []
    for study in np.unique(studies[sample]):
        rows = sample[studies[sample] == study]
        others = np.flatnonzero(studies != study)
        if others.size:
            nearest.append(built.query(embeddings[rows], 1, allowed=others).distances[:, 0])
        else:
            nearest.append(built.query(embeddings[rows], 2).distances[:, -1])
    distances = np.concatenate(nearest)
    found = distances[np.isfinite(distances)]
    return float(np.quantile(found, _REACH_QUANTILE)) if found.size else 2.0
