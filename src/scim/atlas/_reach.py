"""How far alike cells of different studies are from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scim._core import keys
from scim._core.mmap import release_pages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.atlas._parts import Cells
    from scim.index import Index

_SAMPLE = 10_000
_QUANTILE = 0.995
_READ = 1000


def measure_reach(built: Index, cells: Cells, frame: pd.DataFrame, seed: int) -> float:
    """Return the cosine distance within which 99.5 % of a sample have a cell of their label in another study.

    Labels of one study alone say nothing of this; without others, the nearest other cell of the study stands in.
    """
    labels, studies = (
        np.asarray(frame[name].cat.codes, dtype=np.int64) for name in (keys.ATLAS_LABEL, keys.ATLAS_STUDY)
    )
    pairs = pd.DataFrame({"label": labels, "study": studies}).query("label >= 0").drop_duplicates()
    n_studies = pairs["label"].value_counts()
    shared = n_studies.index[n_studies > 1].to_numpy()
    comparable = np.flatnonzero(np.isin(labels, shared)) if shared.size else np.arange(len(labels))
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(comparable, min(comparable.size, _SAMPLE), replace=False))
    if shared.size:
        nearest = _nearest_in_other_studies(built, cells, labels, studies, sample)
    else:
        nearest = built.query(_embeddings(cells, sample), 2).distances[:, -1]
    built.release_pages()
    found = nearest[np.isfinite(nearest)]
    return float(np.quantile(found, _QUANTILE)) if found.size else 2.0


def _nearest_in_other_studies(
    built: Index,
    cells: Cells,
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
        nearest[rows] = built.query(_embeddings(cells, sample[rows]), 1, allowed=cells.ids[others]).distances[:, 0]
        built.release_pages()
    return nearest


def _embeddings(cells: Cells, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the embeddings of some rows; a page that is read brings its neighbours, all of which would stay."""
    parts = []
    for some in np.array_split(rows, -(-len(rows) // _READ)):
        parts.append(np.asarray(cells.embeddings[some]))
        release_pages(cells.embeddings)
    return np.concatenate(parts)
