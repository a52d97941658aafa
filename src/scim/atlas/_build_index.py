"""The search index of an atlas: a derived folder `index/v0001`, made anew by each build."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np

from scim import index as knn
from scim._core.errors import FormatError
from scim._core.log import logger
from scim.atlas._manifest import IndexEntry

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scim._core.types import IndexKind

_REACH_SAMPLE = 10_000
_REACH_QUANTILE = 0.995


def build_index(
    path: Path,
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int32],
    studies: NDArray[np.int64],
    old: IndexEntry | None,
    *,
    kind: IndexKind,
    seed: int,
) -> IndexEntry:
    """Build and save the next version of the index; nothing refers to it until it is committed."""
    built = knn.build(embeddings, kind=kind, rng=seed)
    number = 1 if old is None else int(old.folder.rpartition("v")[2]) + 1
    folder = f"index/v{number:04d}"
    built.save(path / folder, overwrite=True)  # an interrupted build may have left one of this name
    reach = _reach(built, embeddings, labels, studies, seed)
    logger.info("built a %s index of %d cells in %s", built.kind, len(embeddings), folder)
    return IndexEntry(folder, len(embeddings), reach)


def open_index(path: Path, entry: IndexEntry) -> knn.Index:
    """Open the index that an entry names.

    Raises
    ------
    FormatError
        It is damaged, or was replaced twice since the atlas was opened.
    """
    try:
        return knn.open(path / entry.folder)
    except (FormatError, FileNotFoundError) as error:
        msg = (
            f"The index of the atlas at {str(path)!r} cannot be read ({error}). Either it was rebuilt since the atlas "
            "was opened: open it again; or it is damaged: open the atlas with mode='w' and call build_index()."
        )
        raise FormatError(msg) from error


def drop_old(path: Path, keep: list[IndexEntry | None]) -> None:
    """Remove all versions but the new one and the one before, which readers may have open."""
    kept = {path / entry.folder for entry in keep if entry is not None}
    for folder in (path / "index").iterdir():
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _reach(
    built: knn.Index,
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int32],
    studies: NDArray[np.int64],
    seed: int,
) -> float:
    """Measure how far cells are from the nearest cell of their label in another study.

    Labels of one study alone say nothing of this; without others, the nearest other cell of the study stands in.
    """
    studies_of = [np.unique(studies[labels == label]) for label in range(labels.max(initial=-1) + 1)]
    shared = [label for label, found in enumerate(studies_of) if found.size > 1]
    comparable = np.flatnonzero(np.isin(labels, shared)) if shared else np.arange(len(labels))
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(comparable, min(comparable.size, _REACH_SAMPLE), replace=False))
    nearest = [built.query(embeddings[sample], 2).distances[:, -1]] if not shared else []
    for label in shared:
        for study in studies_of[label]:
            rows = sample[(labels[sample] == label) & (studies[sample] == study)]
            others = np.flatnonzero((labels == label) & (studies != study))
            nearest.append(built.query(embeddings[rows], 1, allowed=others).distances[:, 0])
    distances = np.concatenate(nearest)
    found = distances[np.isfinite(distances)]
    return float(np.quantile(found, _REACH_QUANTILE)) if found.size else 2.0
