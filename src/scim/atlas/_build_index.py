"""The search index of an atlas: a derived folder `index/v0001`, made anew by each build."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim import index as knn
from scim._core import keys
from scim._core.errors import FormatError
from scim._core.log import logger
from scim.atlas._indexed import columns_to_index
from scim.atlas._manifest import IndexEntry
from scim.atlas._read import read_embeddings, read_obs
from scim.atlas._soma import MEASUREMENT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.types import IndexKind

_ROWS = 65_536
_REACH_SAMPLE = 10_000
_REACH_QUANTILE = 0.995


def build_index(
    path: Path, experiment: Any, n_obs: int, old: IndexEntry | None, *, kind: IndexKind, recall: float, seed: int
) -> IndexEntry:
    """Build the next version of the index; nothing refers to it until it is committed."""
    number = 1 if old is None else int(old.folder.rpartition("v")[2]) + 1
    folder = f"index/v{number:04d}"
    columns, others = columns_to_index(experiment)
    labels, studies = _codes(columns, experiment, keys.ATLAS_LABEL), _codes(columns, experiment, keys.ATLAS_STUDY)
    params: dict[str, Any] = {"recall": recall} if kind in ("auto", "ivf") else {}
    (path / "index").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path / "index", ignore_cleanup_errors=True) as room:
        embeddings = _mapped(Path(room) / "embeddings.npy", experiment, n_obs)
        # An interrupted build may have left a folder of this name.
        built = knn.build(embeddings, obs=columns, kind=kind, path=path / folder, overwrite=True, rng=seed, **params)
        reach = _reach(built, embeddings, labels, studies, seed)
        del embeddings
    logger.info("built a %s index of %d cells in %s", built.kind, n_obs, folder)
    logger.info("filters by %s are answered by the index, by %s more slowly by the store", list(columns), others)
    return IndexEntry(folder, n_obs, reach)


def _mapped(file: Path, experiment: Any, n_obs: int) -> NDArray[np.float32]:
    """Copy the embeddings into a file that is read as memory, so that an atlas may be larger than memory."""
    dim = experiment.ms[MEASUREMENT].obsm[keys.EMBEDDING].shape[1]
    out = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(n_obs, dim))
    for start in range(0, n_obs, _ROWS):
        stop = min(start + _ROWS, n_obs)
        out[start:stop] = read_embeddings(experiment, n_obs, np.arange(start, stop))
    out.flush()
    return np.load(file, mmap_mode="r")  # type: ignore[no-any-return]


def _codes(columns: dict[str, Any], experiment: Any, name: str) -> NDArray[np.int64]:
    """Return a column of text as codes; -1 = missing."""
    if name in columns:
        return np.asarray(columns[name].codes, dtype=np.int64)
    frame = read_obs(experiment, 0, None, [name])
    return np.asarray(pd.factorize(frame[name])[0], dtype=np.int64)


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
    labels: NDArray[np.int64],
    studies: NDArray[np.int64],
    seed: int,
) -> float:
    """Measure how far cells are from the nearest cell of their label in another study.

    Labels of one study alone say nothing of this; without others, the nearest other cell of the study stands in.
    """
    pairs = pd.DataFrame({"label": labels, "study": studies}).query("label >= 0").drop_duplicates()
    n_studies = pairs["label"].value_counts()
    shared = n_studies.index[n_studies > 1].to_numpy()
    comparable = np.flatnonzero(np.isin(labels, shared)) if shared.size else np.arange(len(labels))
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(comparable, min(comparable.size, _REACH_SAMPLE), replace=False))
    if shared.size:
        nearest = _nearest_in_other_studies(built, embeddings, labels, studies, sample)
    else:
        nearest = built.query(embeddings[sample], 2).distances[:, -1]
    found = nearest[np.isfinite(nearest)]
    return float(np.quantile(found, _REACH_QUANTILE)) if found.size else 2.0


def _nearest_in_other_studies(
    built: knn.Index,
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    studies: NDArray[np.int64],
    sample: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the distance from each cell of a sample to the nearest of its label in another study."""
    order = np.argsort(labels, kind="stable")
    firsts = np.searchsorted(labels[order], [labels[sample], labels[sample] + 1])
    nearest = np.full(len(sample), np.inf, dtype=np.float32)
    groups = pd.DataFrame({"start": firsts[0], "stop": firsts[1], "study": studies[sample]})
    for rows in groups.groupby(["start", "study"]).indices.values():
        start, stop, study = groups.iloc[rows[0]]
        alike = order[start:stop]
        others = alike[studies[alike] != study]
        nearest[rows] = built.query(embeddings[sample[rows]], 1, allowed=others).distances[:, 0]
    return nearest
